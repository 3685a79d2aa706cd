"""What is due, from three oracles that know nothing of one another."""
