"""Proven values: gradients in balls, and the test vectors made of them."""
