"""The walls of the house: who may import whom, one door for each third party, and who may print."""

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

import checks

ROOT = Path(checks.__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for package in ("lstm_ref", "lstm_fast", "checks")
    for path in sorted((ROOT / package).rglob("*.py"))
}

DOORS = {
    "hypothesis": {"checks.strategies", "checks.suite"},
    "pytest": {"checks.suite", "checks.plugin"},
    "flint": {"checks.arithmetic.balls"},
    "scipy": {"checks.oracles"},
    "llvmlite": {"lstm_fast.compiled"},
    "rich": {"checks.commands.common"},
    "torch": {"checks.adapters.torch"},
    "distributed": {"checks.executors"},
    "jax": {"checks.adapters.jax", "checks.adapters.equinox", "checks.adapters.flax", "checks.adapters.keras"},
    "flax": {"checks.adapters.flax"},
    "equinox": {"checks.adapters.equinox"},
    "keras": {"checks.adapters.keras"},
    "onnx": {"checks.adapters.onnx"},
    "onnxruntime": {"checks.adapters.onnx"},
    "matplotlib": {"checks.report.kill_matrix"},
    "safetensors": {"checks.weights"},
    "numba": {"lstm_fast.compiled"},
    "threadpoolctl": {"lstm_fast.threads"},
}
UNPICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "multiprocessing"}
EDGES = ("checks.cli", "checks.commands", "checks.plugin", "checks.report")

# Arrows run from right to left: a module imports those before it in this order, and none after.
ORDER = [
    "tolerance",
    "files",
    "processes",
    "contract",
    "layouts",
    "weights",
    "cases",
    "arithmetic.balls",
    "arithmetic.complex_step",
    "arithmetic.monte_carlo",
    "arithmetic.projection",
    "oracles",
    "calling",
    "wire",
    "compare",
    "faults.model",
    "faults.slips",
    "faults.mixups",
    "faults.carry",
    "faults.states",
    "faults.steps",
    "faults.transposition",
    "faults.derivatives",
    "faults.gates",
    "faults.accumulation",
    "faults.clipping",
    "faults.precision",
    "faults.conventions",
    "faults.numerics",
    "faults.calls",
    "faults.blocks",
    "faults.catalogue",
    "diagnosis.observe",
    "diagnosis.statement",
    "diagnosis.work",
    "diagnosis.formats",
    "diagnosis.fingerprint",
    "diagnosis.relation",
    "diagnosis.sums",
    "diagnosis.as_if",
    "diagnosis.scaled",
    "diagnosis.layout",
    "diagnosis.localize",
    "diagnosis.limits",
    "diagnosis.chance",
    "diagnosis.rule",
    "diagnose",
    "diagnosis.groups",
    "properties.closed_form",
    "properties.noise",
    "properties.relations",
    "properties.claims",
    "certify",
    "strategies",
    "vectors",
    "adapters.supervise",
    "adapters.program",
    "adapters.common",
    "adapters.torch",
    "adapters.jax",
    "adapters.equinox",
    "adapters.flax",
    "adapters.keras",
    "adapters.onnx",
    "targets",
    "worker",
    "remote",
    "form",
    "verify",
    "explain_vectors",
    "executors",
    "campaign",
    "faults.search",
    "kill_matrix",
    "report.text",
    "report.json",
    "report.faults",
    "report.kill_matrix",
    "report.campaign",
    "report.certified",
    "bench",
    "config",
    "baseline",
    "judge",
    "gate",
    "report.gate",
    "report.junit",
    "report.markdown",
    "suite",
    "plugin",
    "commands.common",
    "commands.convert",
    "commands.verify",
    "commands.certify",
    "commands.vectors",
    "commands.gate",
    "commands.faults",
    "cli",
    "__main__",
]


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
    forbidden = {"lstm_ref": {"lstm_fast", "checks"}, "lstm_fast": {"lstm_ref", "checks"}, "checks": {"lstm_fast"}}
    assert not packages(FILES[module]) & forbidden[package]
    if package != "checks":
        optional = {"numba", "llvmlite", "threadpoolctl"} if package == "lstm_fast" else set()
        assert packages(FILES[module]) <= {*sys.stdlib_module_names, "numpy", "scipy", package} | optional


@pytest.mark.parametrize("module", FILES)
def test_each_third_party_has_one_door(module):
    for third_party in packages(FILES[module]) - {*sys.stdlib_module_names, "numpy", "lstm_ref", "lstm_fast", "checks"}:
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
    assert found <= {*sys.stdlib_module_names, *needed, "lstm_ref", "lstm_fast", "checks"}


@pytest.mark.parametrize("module", [name for name in FILES if name.startswith("checks.")])
def test_arrows_run_one_way(module):
    name = module.removeprefix("checks.")
    if name.endswith("__init__"):
        assert not {i for i in imports(FILES[module]) if i.startswith("checks")}
        return
    later = {f"checks.{other}" for other in ORDER[ORDER.index(name) + 1 :]}
    assert not imports(FILES[module]) & later


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
        if not name.startswith("checks"):
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
