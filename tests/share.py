"""How much of a long list a test asks: all of it where a person runs the tests, a share of it in CI.

What CI leaves out is asked by `make test` elsewhere and at night, and much of it by the campaigns that CI runs besides.
"""

import os
from collections.abc import Iterable
from typing import Any

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "dev")


def told(items: Iterable[Any], ci: int = 3, dev: int = 1) -> list[Any]:
    """Return one item of so many, the same in every run: all in the profile `nightly`."""
    return [*items][:: {"nightly": 1, "ci": ci}.get(PROFILE, dev)]
