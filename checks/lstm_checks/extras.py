"""What is optional, and not installed."""


class MissingExtra(ImportError):
    """An optional dependency is not here; the message is the command that installs it."""
