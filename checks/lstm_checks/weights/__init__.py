"""How frameworks keep an LSTM's weights, and how they are carried over."""
