"""Processes of our own: a target in a worker, and what goes to it and back."""
