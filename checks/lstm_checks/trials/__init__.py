"""The harness tried on known bugs."""
