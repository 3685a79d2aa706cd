"""What must hold of any LSTM, with no oracle to say what is right."""
