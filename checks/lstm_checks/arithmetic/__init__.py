"""Other arithmetics that the reference runs under: each turns the same source into an oracle."""
