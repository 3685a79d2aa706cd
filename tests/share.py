"""How much of what takes long is asked: all of it where a person runs the tests, a share of it in CI.

What CI leaves out is asked by `make test` elsewhere and at night, and much of it by the campaigns that CI runs besides.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "dev")

LONG = (
    *("asking", "benchmarks", "binding", "campaign", "certified", "commands", "diagnosis", "faults", "gate", "html"),
    *("judging", "museum", "repair", "site", "targets", "trials", "weights", "workers"),
    *("test_activations.py", "test_cells.py", "test_layernorm.py", "test_networks.py", "test_one_state_cells.py"),
    *("test_projected.py", "test_suite.py"),
)
"""The folders and files whose tests start processes, load frameworks or have failures diagnosed."""


def told(items: Iterable[Any], ci: int, dev: int = 1) -> list[Any]:
    """Return one item of so many, the same in every run: all in the profile `nightly`."""
    return [*items][:: {"nightly": 1, "ci": ci}.get(PROFILE, dev)]


def shared(ids: Sequence[str]) -> set[str]:
    """Return which tests CI runs, of those with these ids: where one takes long, a fifth of its arguments.

    Two at least, at regular distances from the first, the same in every run.
    """
    by_test = defaultdict[str, list[str]](list)
    for one in ids:
        by_test[one.partition("[")[0]].append(one)
    kept = set[str]()
    for test, all_of_it in by_test.items():
        count = len(all_of_it)
        long = test.partition("tests/")[2].startswith(LONG)
        asked = min(count, max(2, -(-count // 5))) if long else count
        kept |= {all_of_it[k * count // asked] for k in range(asked)}
    return kept
