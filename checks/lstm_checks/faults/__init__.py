"""The catalogue of known LSTM bugs, each a patch to the reference's own source."""
