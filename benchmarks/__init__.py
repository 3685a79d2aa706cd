"""Speed and memory of lstm_fast beside other LSTMs; `make bench` runs it all."""
