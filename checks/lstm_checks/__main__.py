"""`python -m lstm_checks` is `lstm-checks`."""

import sys

from lstm_checks.cli import main

if __name__ == "__main__":
    sys.exit(main())
