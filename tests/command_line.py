"""The command line as a user has it, in a process of its own; and a layer that it must not pass."""

import subprocess
import sys

WRONG = """
from lstm_fast import LSTM as Fast
class LSTM(Fast):
    def compute_gradients(self):
        super().compute_gradients()
        self.g["dVi"] *= 1 + 1e-12
"""


def run(*arguments, cwd=None):
    command = [sys.executable, "-W", "error", "-m", "lstm_checks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600, check=False)
