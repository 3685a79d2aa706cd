"""From a built wheel to the first true diagnosis of a layer that nobody wrote for us: seconds a step, lines written.

    python -m benchmarks.first_minutes [--layer FILE:NAME] [--suspect ID]

The wheel is built of this checkout and installed by pip in an environment of its own, with what it depends on from
wherever pip looks. The layer's file is copied to an empty folder, where the command runs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYER, SUSPECT = "examples/any_layer.py:LostMemory", "carry-not-passed-on"


Seconds = tuple[float, float]
"""By the clock, and of the processor: a machine with much else to do makes the first the longer."""


def timed(command: Sequence[str | Path], folder: Path, due: int = 0) -> Seconds:
    """Return how many seconds a command took; raise with what it said where it ended with another exit code."""
    start, before = time.perf_counter(), os.times()
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != due:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, used


def measure(layer: str, suspect: str, folder: Path) -> dict[str, Seconds]:
    """Return the seconds of each step; raise where the diagnosis is another than the true one."""
    path, _, name = layer.partition(":")
    wheels, home = folder / "wheels", folder / "home"
    home.mkdir()
    shutil.copy(ROOT / path, home)
    timed([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels], ROOT)
    seconds = {"python -m venv": timed([sys.executable, "-m", "venv", folder / "venv"], folder)}
    programs = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    (wheel,) = wheels.glob("*.whl")
    seconds["pip install"] = timed([programs / "python", "-m", "pip", "install", "-q", wheel], home)
    command = [programs / "lstm-checks", "verify", f"{Path(path).name}:{name}", "--json", "report.json"]
    seconds["verify, the first time"] = timed(command, home, due=1)
    found = json.loads((home / "report.json").read_text())["failure"]["diagnosis"]["suspects"]
    if [one["fault"] for one in found[:1]] != [suspect]:
        raise SystemExit(f"{suspect} was expected to be named, and {found or 'nothing'} was")
    seconds["verify, again"] = timed(command, home, due=1)
    return seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layer", default=LAYER, help=f"whose file needs nothing beside it, default {LAYER}")
    parser.add_argument("--suspect", default=SUSPECT, help=f"what is wrong with it, default {SUSPECT}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for step, taken in measure(options.layer, options.suspect, Path(folder)).items():
            print(f"{taken[0]:7.1f} s, {taken[1]:5.1f} s of the processor   {step}")
    print("no line was written")
