"""Ask the system how large a processor's caches are."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["L1_BYTES", "L2_BYTES"]


#: Where Linux says it.
SYSTEM = Path("/sys/devices/system/cpu/cpu0/cache")


def _bytes_of(level: int, usual: int) -> int:
    """Return the size of a processor's data cache of a level; `usual` where the system does not say."""
    try:
        size = os.sysconf("SC_LEVEL1_DCACHE_SIZE" if level == 1 else "SC_LEVEL2_CACHE_SIZE")
        if size > 0:
            return size
    except (AttributeError, ValueError, OSError):  # no such function, or no such name
        pass
    try:  # the first is the L1 cache of data, the second that of instructions
        text = (SYSTEM / f"index{0 if level == 1 else 2}" / "size").read_text().strip()
        return int(text.rstrip("KM")) << (20 if text.endswith("M") else 10)
    except (OSError, ValueError):
        return usual


L1_BYTES = _bytes_of(1, 1 << 15)
L2_BYTES = _bytes_of(2, 1 << 19)
