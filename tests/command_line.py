"""The command line as a user has it, in a process of its own; a layer that it must not pass; who hears of progress."""

import subprocess
import sys

from lstm_checks.progress import Progress

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


class Heard(Progress):
    """All that was said, in order."""

    def __init__(self):
        self.said = []

    def __call__(self, count=1):
        self.said.append(count)

    def doing(self, words, total=None):
        self.said.append(words)

    def failed(self, sentence):
        self.said.append(sentence)
