"""A target and cases: what is claimed, and how it is told."""
