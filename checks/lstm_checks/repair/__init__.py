"""Which line of the user's own source is wrong, and the edit that makes it right."""
