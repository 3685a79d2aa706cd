"""A report in words or for machines; no arithmetic here, and nothing is judged."""
