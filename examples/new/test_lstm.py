"""The tests of an LSTM, one a claim, for pytest. Name your own in place of what stands at `target`.

python -m pytest test_lstm.py
"""

from lstm_checks import LayerSuite


class TestLSTM(LayerSuite):
    """All that `lstm-checks verify` judges, on as many examples as the Hypothesis profile says."""

    target = "lstm_fast:LSTM"  # whatever `lstm-checks verify` takes, or the class or function itself
    # What is known to fail is named with the reason: xfail = {"dC0": "not implemented yet"}
