"""A verification over many processes: planned, journalled, merged."""
