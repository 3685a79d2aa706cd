"""Hypothesis profiles: `dev` (the default), `ci` and `nightly`, chosen by the environment's HYPOTHESIS_PROFILE.

`ci` draws the same examples every time, so that a red build is red again on the next machine; `nightly` draws
new ones each time, more of them, and keeps what failed in a directory.
"""

import signal
import threading

from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from share import PROFILE, shared

COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("dev", max_examples=50, **COMMON)
settings.register_profile("ci", max_examples=50, derandomize=True, print_blob=True, **COMMON)
settings.register_profile(
    "nightly",
    max_examples=2000,
    derandomize=False,
    print_blob=True,
    database=DirectoryBasedExampleDatabase(".hypothesis/nightly"),
    **COMMON,
)
settings.register_profile(
    "mutants", max_examples=50, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate], **COMMON
)
settings.load_profile(PROFILE)

# A shell has its background jobs ignore interrupts, and whatever they start with them; the tests interrupt on purpose.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Leave to others what CI has no time for."""
    if PROFILE != "ci":
        return
    kept = shared([item.nodeid for item in items])
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
    items[:] = [item for item in items if item.nodeid in kept]
