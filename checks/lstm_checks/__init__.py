"""The harness: it proves an LSTM's gradients right, or names what is wrong with them."""
