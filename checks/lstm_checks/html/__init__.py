"""One self-contained page of a report, made from what its JSON says."""
