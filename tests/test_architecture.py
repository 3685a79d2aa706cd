"""The walls of the house: who may import whom, one door for each third party, and who may print."""

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOMES = {"lstm_ref": ROOT, "lstm_fast": ROOT, "lstm_checks": ROOT / "checks"}
FILES = {
    ".".join(path.relative_to(home).with_suffix("").parts): path
    for package, home in HOMES.items()
    for path in sorted((home / package).rglob("*.py"))
}

DOORS = {
    "hypothesis": {"lstm_checks.strategies", "lstm_checks.suite"},
    "pytest": {"lstm_checks.suite", "lstm_checks.plugin"},
    "flint": {"lstm_checks.arithmetic.balls"},
    "scipy": {"lstm_checks.oracles.check_grad"},
    "llvmlite": {"lstm_fast.vectors"},
    "rich": {"lstm_checks.commands.common"},
    "torch": {
        "lstm_checks.targets.torch",
        "lstm_checks.targets.torch_autograd",
        "lstm_checks.targets.torch_networks",
        "lstm_checks.targets.torch_ways",
    },
    "distributed": {"lstm_checks.campaign.executors"},
    "jax": {
        "lstm_checks.targets.jax",
        "lstm_checks.targets.jax_networks",
        "lstm_checks.targets.equinox",
        "lstm_checks.targets.equinox_modules",
        "lstm_checks.targets.flax",
        "lstm_checks.targets.flax_modules",
        "lstm_checks.targets.haiku",
        "lstm_checks.targets.keras_layers",
    },
    "flax": {"lstm_checks.targets.flax", "lstm_checks.targets.flax_modules"},
    "equinox": {"lstm_checks.targets.equinox", "lstm_checks.targets.equinox_modules"},
    "haiku": {"lstm_checks.targets.haiku"},
    "keras": {"lstm_checks.targets.keras", "lstm_checks.targets.keras_layers", "lstm_checks.targets.keras_networks"},
    "onnx": {"lstm_checks.targets.onnx", "lstm_checks.targets.onnx_graph", "lstm_checks.certified.onnx_tests"},
    "onnxruntime": {"lstm_checks.targets.onnx"},
    "matplotlib": {"lstm_checks.trials.picture"},
    "jinja2": {"lstm_checks.html.render"},
    "safetensors": {"lstm_checks.weights.files"},
    "ml_dtypes": {"lstm_checks.formats"},
    "numba": {"lstm_fast.compiled", "lstm_fast.vectors"},
    "threadpoolctl": {"lstm_fast.threads"},
}
UNPICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "multiprocessing"}
EDGES = ("lstm_checks.cli", "lstm_checks.commands", "lstm_checks.plugin")

# The rooms, and what is flat: each imports those above it and none below. Beside it stands why it is there.
ROOMS = {
    "tolerance": "numbers alone",
    "extras": "what is optional, and not here",
    "formats": "how long numbers are, and where",
    "words": "words in a row",
    "progress": "what is being done, for whoever waits",
    "files": "reading and writing, of whatever",
    "contract": "what a target is",
    "cases": "what it is asked",
    "arrangement": "the same numbers elsewhere in memory",
    "arithmetic": "the numbers that the reference runs on",
    "oracles": "what is due for a case",
    "calling": "what a target gives for a case",
    "compare": "what came against what is due",
    "strategies": "which cases are drawn",
    "weights": "the twelve arrays as others keep them",
    "faults": "the reference with something wrong in it, as a target",
    "diagnosis": "what a target that fails has in common with a fault, or with what is due",
    "properties": "what a target's own answers must have in common",
    "asking": "what a target must give when it is asked again, in part or otherwise",
    "binding": "a layer that nobody wrote for us, as a function that a target can be made of",
    "targets": "a target of whatever is named, a fault included",
    "workers": "the same in another process",
    "repair": "a target's own source: the line that is wrong, and the edit that mends it",
    "judging": "a target on cases: it calls, compares, asks the properties and the diagnosis",
    "certified": "proven answers, and what judging says of a target that misses them",
    "campaign": "judging by many processes",
    "trials": "judging the faults themselves",
    "gate": "judging against what was so before",
    "html": "a report, of whichever of these, as a page",
    "suite": "judging as a test",
    "plugin": "pytest's way to the suite",
    "commands": "the shell's way to each of these",
    "cli": "which command",
    "__main__": "the same, by python -m",
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    return imported(ast.walk(ast.parse(path.read_text())))


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules that the statements among these import."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("module", FILES)
def test_the_two_layers_are_strangers(module):
    package = module.partition(".")[0]
    forbidden = {"lstm_fast"} if package == "lstm_checks" else set(HOMES) - {package}
    assert not packages(FILES[module]) & forbidden
    if package != "lstm_checks":
        optional = {"numba", "llvmlite", "threadpoolctl"} if package == "lstm_fast" else set()
        assert packages(FILES[module]) <= {*sys.stdlib_module_names, "numpy", "scipy", package} | optional


@pytest.mark.parametrize("module", FILES)
def test_each_third_party_has_one_door(module):
    for third_party in packages(FILES[module]) - {*sys.stdlib_module_names, "numpy", *HOMES}:
        assert module in DOORS.get(third_party, set()), f"{module} imports {third_party}"


@pytest.mark.parametrize("module", FILES)
def test_what_pytest_collects_needs_no_extra(module):
    # Docstring examples are looked for in every module that is not ignored: one that needs an extra would be an error.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    options = project["tool"]["pytest"]["ini_options"]["addopts"]
    path = FILES[module].relative_to(ROOT)
    if any(
        path.is_relative_to(option.removeprefix("--ignore=")) for option in options if option.startswith("--ignore=")
    ):
        return
    needed = {re.match(r"[\w-]+", line)[0] for line in project["project"]["dependencies"]}
    found = {name.partition(".")[0] for name in imported(ast.parse(FILES[module].read_text()).body)}
    assert found <= {*sys.stdlib_module_names, *needed, *HOMES}


def ours(module: str) -> set[str]:
    """The files of the harness that one of its files imports."""
    return {name for name in imports(FILES[module]) & set(FILES) if name.startswith("lstm_checks.")}


def room_of(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", [name for name in FILES if name.startswith("lstm_checks.")])
def test_arrows_run_down(module):
    if module.endswith(("__init__",)):
        return
    order = list(ROOMS)
    above = order[: order.index(room_of(module)) + 1]
    assert {room_of(name) for name in ours(module)} <= set(above)


def test_there_is_no_circle():
    left = {name: ours(name) for name in FILES if name.startswith("lstm_checks.")}
    while left:
        free = {name for name, needed in left.items() if not needed & set(left)}
        assert free, f"each of these imports another of them: {sorted(left)}"
        left = {name: needed for name, needed in left.items() if name not in free}


def test_every_room_is_known():
    assert {room_of(name) for name in FILES if name.startswith("lstm_checks.")} - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("module", FILES)
def test_only_the_edges_print(module):
    calls = [node.func for node in ast.walk(ast.parse(FILES[module].read_text())) if isinstance(node, ast.Call)]
    prints = any(isinstance(call, ast.Name) and call.id == "print" for call in calls)
    assert not prints or module.startswith(EDGES)


@pytest.mark.parametrize("module", FILES)
def test_every_file_says_what_it_is_for(module):
    assert ast.get_docstring(ast.parse(FILES[module].read_text()))


def test_the_layers_export_the_same_names():
    ref, fast = (importlib.import_module(name) for name in ("lstm_ref", "lstm_fast"))
    assert {"LSTM", "orthogonal", "xavier"} <= set(ref.__all__) & set(fast.__all__)
    for function in ("compute_shapes", "initialize_parameters", "compute_gradients", "update_parameters"):
        assert f"lstm_{function}" in ref.__all__
        assert f"lstm_{function}" in fast.__all__


def test_nothing_is_pickled_anywhere():
    """Unpickling what a target's process sends would run it here; pools of processes pickle by themselves."""
    for name, path in FILES.items():
        if not name.startswith("lstm_checks"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not UNPICKLES & {word.partition(".")[0] for word in imported}, name
            assert "ProcessPoolExecutor" not in imported, name
            keywords = node.keywords if isinstance(node, ast.Call) else []
            allowed = [k.value for k in keywords if k.arg == "allow_pickle"]
            assert all(isinstance(value, ast.Constant) and value.value is False for value in allowed), name
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "np.lib.format.read_array"):
                assert allowed, name


def test_nothing_imports_the_folder_as_a_package():
    """`checks` is a folder; what is imported is in it. Where a string is run as Python it is asked by its own test."""
    for folder in ("checks", "tests", "benchmarks", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "checks" not in packages(path), path
