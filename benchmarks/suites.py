"""What the tests that others rely on leave alive of the catalogue, and the few cases that would mend them.

    python -m benchmarks.suites            # some minutes; writes docs/suites.md, suites.json and suites.svg

Each suite is a list of tries: inputs, what is compared, and how closely. Where a package ships its data that data is
run, and where it ships its tests they are (`benchmarks/suites_keras.py`); the others are imitated by their shapes,
their data and their rules, as their sources say them, and the page says which. Every catalogued fault that is a patch
of the reference's source is planted in `lstm_ref`, in float64, and each try asked whether it would see it.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.cases import Arrays
from lstm_checks.contract import PLAIN
from lstm_checks.faults.catalogue import FAULTS, faults_of
from lstm_checks.faults.model import Fault, evaluate
from lstm_checks.files import replace_file
from lstm_checks.oracles.expected import evaluate_reference
from lstm_checks.strategies import draw_cases
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named

Array = NDArray[Any]

ROOT = Path(__file__).parents[1]
DATA, PAGE, PICTURE = (ROOT / "docs" / f"suites.{ending}" for ending in ("json", "md", "svg"))

SOURCE_FAULTS = {id: fault for id, fault in FAULTS.items() if fault.patches}
"""The faults that are patches: what lives between calls, or in how a gradient is asked for, no suite here asks."""

CANDIDATES, CANDIDATE_DIMS = 60, (4, 6, 5, 5)
"""Cases from which those that would mend a suite are chosen: all strata, small sizes."""

OUTPUTS, GRADIENTS = PLAIN.outputs, PLAIN.gradients


class Closeness:
    """How closely arrays must agree."""

    def agrees(self, came: Array, due: Array) -> bool:
        """Return whether one array agrees with what is due."""
        raise NotImplementedError

    def accepts(self, came: Mapping[str, Array], due: Mapping[str, Array], names: Sequence[str]) -> bool:
        """Return whether all of these arrays agree."""
        return all(came[name].shape == due[name].shape and self.agrees(came[name], due[name]) for name in names)


@dataclass(frozen=True)
class Rule(Closeness):
    """Everywhere: abs(a - b) <= atol + rtol * abs(b)."""

    rtol: float
    atol: float

    def agrees(self, came: Array, due: Array) -> bool:
        """Return whether all entries do."""
        return bool(np.all(np.abs(came - due) <= self.atol + self.rtol * np.abs(due)))


@dataclass(frozen=True)
class NormRule(Closeness):
    """As a whole: the root mean square of the error, divided by that of what is due, is below a ratio.

    `spared` is the largest error that is none in any case, and `warned` two of which either makes a warning of it: a
    largest error, and a ratio.
    """

    ratio: float
    spared: float = 0.0
    warned: tuple[float, float] = (0.0, 0.0)

    def agrees(self, came: Array, due: Array) -> bool:
        """Return whether the array does."""
        error, base = (float(np.sqrt(np.mean(one**2))) for one in (came - due, due))
        largest, ratio = float(np.max(np.abs(came - due))), error / (base + 1e-8)
        return largest <= max(self.spared, self.warned[0]) or ratio < max(self.ratio, self.warned[1])


@dataclass(frozen=True)
class PointRule(Closeness):
    """Entry by entry: relative to what is due, or below 1e-5 absolute; absolute everywhere where `absolute` is true."""

    threshold: float
    absolute: bool

    def agrees(self, came: Array, due: Array) -> bool:
        """Return whether all entries do."""
        error, size = np.abs(came - due), np.abs(due)
        relative = error / np.where(size > 1e-5, size, 1.0) <= self.threshold
        return bool(np.all(relative | (error < self.threshold) & self.absolute))


@dataclass(frozen=True)
class Try:
    """One test of a suite: its inputs, and what it sees of an answer, each with its rule."""

    arrays: Arrays
    sees: Callable[[Mapping[str, Array]], dict[str, Array]]
    rule: Closeness
    cell: Cell = PLAIN
    forward: bool = True

    def kills(self, fault: Fault) -> bool:
        """Return whether the test would fail with a fault; one that its cell cannot have it cannot see."""
        planted = faults_of(self.cell).get(fault.id)
        if planted is None:
            return False
        with np.errstate(all="ignore"):
            due, came = self.sees(self.due), self.sees(evaluate(planted, self.arrays))
        return not self.rule.accepts(came, due, tuple(due))

    @cached_property
    def due(self) -> Mapping[str, Array]:
        """What the reference gives, worked out once."""
        return evaluate_reference(self.arrays)


@dataclass(frozen=True)
class Suite:
    """Somebody's tests of an LSTM: where they are, how they are taken, and what they compare."""

    name: str
    link: str
    how: str
    says: str
    tries: Callable[[], list[Try]]
    gradients: bool
    rule: Closeness
    own: Callable[[Fault], Sequence[str]] | None = None
    """Where their tests are run: which of them fail with a fault."""


def _arrays(cell: Cell = PLAIN, **named: Any) -> Arrays:
    """Return arrays of a cell: parameters that are not given are zero, and so are cotangents and states."""
    X = np.asarray(named["X"], np.float64)
    m, s, e = X.shape
    u = np.shape(named["Vi"])[-1]
    shapes = {name: cell.shape(name, m, s, e, u) for name in (*cell.inputs, *cell.cotangents)}
    return Arrays({n: np.asarray(named.get(n, np.zeros(shape)), np.float64) for n, shape in shapes.items()}, cell)


def _split(order: str, W: Array, R: Array, b: Array) -> dict[str, Array]:
    """Return packed weights, gates below one another, as parameters by name."""
    u, found = R.shape[-1], {}
    for k, gate in enumerate(order):
        rows = slice(k * u, (k + 1) * u)
        found |= {f"U{gate}": W[rows].T, f"V{gate}": R[rows].T, f"b{gate}": b[rows][np.newaxis]}
    return found


def _last(values: Mapping[str, Array]) -> dict[str, Array]:
    return {"h": values["h"][:, -1]}


def _all_outputs(values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values[name] for name in OUTPUTS}


def _everything(values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values[name] for name in (*OUTPUTS, *GRADIENTS)}


ONNX_RULE = Rule(1e-3, 1e-7)
"""What onnx's own runner of backend tests takes where a test says nothing."""


def onnx_tries() -> list[Try]:
    """Return the node tests of ONNX's LSTM, from its package; the one with peepholes is of another cell."""
    from onnx.backend.test.case import node as nodes
    from onnx.backend.test.case.node.lstm import LSTM

    assert LSTM, "its cases are made where it is imported"
    found = []
    for case in nodes._NodeTestCases:
        if not case.name.startswith("test_lstm") or "expanded" in case.name:
            continue
        (node,) = (n for n in case.model.graph.node if n.op_type == "LSTM")
        inputs, _ = case.data_sets[0]
        given = dict(zip(filter(None, node.input), map(_array, inputs), strict=False))
        if "P" in given:
            continue
        batchwise = any(a.name == "layout" and a.i == 1 for a in node.attribute)
        X = given["X"] if batchwise else given["X"].swapaxes(0, 1)
        backwards = any(a.name == "direction" and a.s == b"reverse" for a in node.attribute)
        sees = _all_h if node.output[0] else _finals if len(node.output) > 2 else _last
        # Each direction is a layer of its own here: that in reverse has its steps turned round.
        for k, (W, R) in enumerate(zip(given["W"], given["R"], strict=True)):
            B = given["B"][k] if "B" in given else np.zeros(2 * len(R))
            steps = X[:, ::-1] if backwards or k == 1 else X
            arrays = _arrays(X=steps, **_split("iofg", W, R, B[: len(R)] + B[len(R) :]))
            found.append(Try(arrays, sees, ONNX_RULE))
    return found


def _array(value: Any) -> Array:
    """Return an array of a test's data, which older packages keep as tensors."""
    from onnx import TensorProto, numpy_helper

    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def _finals(values: Mapping[str, Array]) -> dict[str, Array]:
    return {"h": values["h"][:, -1], "Cn": values["Cn"]}


def _all_h(values: Mapping[str, Array]) -> dict[str, Array]:
    return {"h": values["h"]}


KERAS_RULE = Rule(1e-5, 1e-5)


def keras_own(fault: Fault) -> Sequence[str]:
    """Return which of Keras's own tests fail with a fault."""
    from benchmarks.suites_keras import failing

    return failing(fault)


WEBNN_RULE = Rule(2.0**-23, 0.0)
"""One unit in the last place of float32."""
WEBNN_CELL = "plain,f=relu,g=relu,h=relu"


def webnn_tries() -> list[Try]:
    """Return WebNN's lstmCell: one step, rectifiers, weights that repeat, states of zero."""
    W, R = np.tile([[1.0, -1.0], [2.0, -2.0]], (4, 1)), np.full((8, 2), 0.1)
    cell = cell_named(WEBNN_CELL)
    arrays = _arrays(cell, X=[[[1.0, 2.0]], [[2.0, 1.0]]], **_split("iofg", W, R, np.tile([2.0, 4.0], 4)))
    return [Try(arrays, _all_outputs, WEBNN_RULE, cell)]


KERNELBENCH_RULE = Rule(1e-2, 1e-2)


def _drawn(rng: np.random.Generator, m: int, s: int, e: int, u: int, states: str = "normal") -> dict[str, Array]:
    """Return PyTorch's own weights, U(-1/sqrt u, 1/sqrt u), and X and states of a distribution."""
    bound = u**-0.5
    rows = {"U": e, "V": u, "b": 1}
    weights = {kind + k: rng.uniform(-bound, bound, (rows[kind], u)) for k in PLAIN.gates for kind in rows}
    draw = {"normal": rng.standard_normal, "uniform": rng.random, "zero": np.zeros}
    return weights | {"h0": draw[states]((m, u)), "C0": draw[states]((m, u))}


def kernelbench_tries() -> list[Try]:
    """Return level 3, 35 to 37: X uniform; the last output through a linear layer, and the final states."""
    rng = np.random.default_rng(0)
    tries = []
    for states, out in (("normal", 10), ("uniform", 0)):
        m, s, e, u = 10, 64, 16, 32
        head = rng.uniform(-(u**-0.5), u**-0.5, (u, out)) if out else None
        arrays = _arrays(X=rng.random((m, s, e)), **_drawn(rng, m, s, e, u, states))
        tries.append(Try(arrays, _through(head), KERNELBENCH_RULE))
    return tries


def _through(head: Array | None) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Return what is seen of the last output through a linear layer, or of the final states."""

    def sees(values: Mapping[str, Array]) -> dict[str, Array]:
        last = values["h"][:, -1]
        return {"h": last, "Cn": values["Cn"]} if head is None else {"out": last @ head}

    return sees


FLAGGEMS_RULE = Rule(0.0, 5e-2)


def flaggems_tries() -> list[Try]:
    """Return FlagGems' fused cell: gradients of one step's gates, of its memory and biases, all normal."""
    rng = np.random.default_rng(0)
    tries = []
    for m, u in ((1, 4), (2, 8), (4, 16), (8, 32), (16, 64)):
        # The products are given: X is the linear activations, and U takes each gate's part of it.
        unit = {f"U{gate}": np.eye(4 * u)[:, k * u : (k + 1) * u] for k, gate in enumerate("ifgo")}
        zero = {f"V{gate}": np.zeros((u, u)) for gate in PLAIN.gates}
        normal = {"X": rng.normal(0, 2**0.5, (m, 1, 4 * u)), "C0": rng.standard_normal((m, u))}
        cotangents = {"dh": rng.standard_normal((m, 1, u)), "dCn": rng.standard_normal((m, u))}
        arrays = _arrays(**unit, **zero, **normal, **cotangents)
        tries.append(Try(arrays, _of_a_fused_cell, FLAGGEMS_RULE, forward=False))
    return tries


FLASHRNN_RULE = Rule(0.2, 0.1)


def _given_products(rng: np.random.Generator, m: int, s: int, u: int) -> dict[str, Array]:
    """Return X that is the linear activations of the input, of which each gate's U takes its part."""
    unit = {f"U{gate}": np.eye(4 * u)[:, k * u : (k + 1) * u] for k, gate in enumerate("ifgo")}
    return {**unit, "X": rng.standard_normal((m, s, 4 * u))}


def flashrnn_tries() -> list[Try]:
    """Return FlashRNN's tests of its kernels against its own loop: all outputs; gradients of a random sum of h."""
    rng = np.random.default_rng(0)
    tries = []
    for m, s, u in ((2, 1, 32), (2, 3, 32), (16, 3, 64), (8, 64, 64), (64, 3, 64), (2, 3, 512)):
        given = _given_products(rng, m, s, u)
        given |= {f"V{gate}": rng.standard_normal((u, u)) / u**0.5 for gate in PLAIN.gates}
        given |= {f"b{gate}": rng.standard_normal((1, u)) for gate in PLAIN.gates}
        # It compares the memory of every step, which is the final one of so many steps.
        for steps in range(1, s) if s < 9 else ():
            tries.append(Try(_arrays(**given | {"X": given["X"][:, :steps]}), _all_outputs, FLASHRNN_RULE))
        arrays = _arrays(**given, dh=rng.standard_normal((m, s, u)))
        tries.append(Try(arrays, _without_states, FLASHRNN_RULE, forward=False))
    return tries


def _without_states(values: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs, and the gradients of X, V and b: U is no part of it, and the states' are masked."""
    return {
        name: values[name] for name in (*OUTPUTS, "dX", *(f"d{kind}{gate}" for kind in "Vb" for gate in PLAIN.gates))
    }


FLA_RULE = NormRule(0.005, spared=1e-6)
FLA_RULE_IN_CI = NormRule(0.005, spared=1e-6, warned=(0.3, 0.01))


def fla_tries(rule: Closeness = FLA_RULE) -> list[Try]:
    """Return what fla's tests of HGRN would be for an LSTM: normal numbers, all cotangents, all gradients."""
    rng = np.random.default_rng(0)
    tries = []
    for s in (1, 15, 63):
        m, u = 2, 500
        drawn = _drawn(rng, m, s, u, u)
        cotangents = {"dh": rng.standard_normal((m, s, u)), "dhn": rng.standard_normal((m, u))}
        arrays = _arrays(X=rng.standard_normal((m, s, u)), **drawn, **cotangents, dCn=rng.standard_normal((m, u)))
        tries.append(Try(arrays, _everything, rule, forward=False))
    return tries


BENCHDNN_SIZES = ((1, 1, 16, 16), (2, 1, 17, 17), (1, 2, 32, 32), (2, 2, 32, 16))


def _benchdnn_rule(m: int, s: int, u: int, backward: bool, by_norm: bool) -> Closeness:
    """Return oneDNN's tolerance: it grows with the logarithm of how many numbers are added."""
    added = (2 * 4 + 1) * (max(4 * u, m) if backward else 1)
    threshold = 4 * (1 + backward) * float(np.ceil(np.log2(added * s))) * 2.0**-23
    return NormRule(threshold) if by_norm else PointRule(threshold, absolute=backward)


def benchdnn_tries() -> list[Try]:
    """Return benchdnn's small problems of one layer in float32: sparse weights, all else near a half."""
    rng = np.random.default_rng(0)
    tries = []
    for m, s, e, u in BENCHDNN_SIZES:
        given: dict[str, Array] = {}
        for kind, rows in (("U", e), ("V", u)):
            for k, gate in enumerate("ifgo"):
                given[kind + gate] = np.zeros((rows, u))
                columns = np.arange(u)
                given[kind + gate][(19 * columns + 7 * k) % rows, columns] = 0.25
        shapes = {name: PLAIN.shape(name, m, s, e, u) for name in (*PLAIN.inputs, *PLAIN.cotangents)}
        for name, shape in shapes.items():
            if name not in given:
                given[name] = np.clip(rng.normal(0.5, 0.01, shape), 0.0, 0.999999)
        for backward in (False, True):
            sees = _packed if backward else _all_outputs
            tries.append(Try(_arrays(**given), sees, _benchdnn_rule(m, s, u, backward, s > 1), forward=not backward))
    return tries


def _packed(values: Mapping[str, Array]) -> dict[str, Array]:
    """Return everything, the weights' gradients with all gates in one array, as their norm is taken."""
    found = {name: values[name] for name in (*OUTPUTS, "dX", "dh0", "dC0")}
    return found | {f"d{kind}": np.concatenate([values[f"d{kind}{k}"] for k in "ifgo"], -1) for kind in "UVb"}


def _of_a_fused_cell(values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values[name] for name in ("dX", "dC0", *(f"db{gate}" for gate in PLAIN.gates))}


TORCHRL_RULE = Rule(1.3e-6, 1e-5)
"""torch.testing.assert_close's own for float32."""


def torchrl_tries() -> list[Try]:
    """Return the cell over two steps, and the layer without states: with them it is compared with itself."""
    rng = np.random.default_rng(0)
    tries = []
    for m, s, states in ((3, 2, "normal"), (5, 3, "zero")):
        arrays = _arrays(X=rng.standard_normal((m, s, 10)), **_drawn(rng, m, s, 10, 20, states))
        tries.append(Try(arrays, _all_outputs, TORCHRL_RULE))
    return tries


JAX_RULE = Rule(1e-5, 1e-5)
JAX_DIRECTION = 5e-3


def jax_tries() -> list[Try]:
    """Return JAX's: sizes of 1 and more, the loss a plain sum; the weights' gradient, and one direction."""
    rng = np.random.default_rng(0)
    tries = []
    for m in (1, 4):
        for s in (1, 4):
            for e in (1, 2):
                for u in (1, 6):
                    drawn = _drawn(rng, m, s, e, u)
                    arrays = _arrays(X=rng.standard_normal((m, s, e)), dh=np.ones((m, s, u)), **drawn)
                    tries.append(Try(arrays, _outputs_and_weights, JAX_RULE))
                    cotangents = {n: rng.standard_normal(arrays[n].shape) for n in PLAIN.cotangents}
                    tries.append(Try(arrays.replaced(**cotangents), _along(rng), Rule(JAX_DIRECTION, JAX_DIRECTION)))
    return tries


def _outputs_and_weights(values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values[name] for name in (*OUTPUTS, *(f"d{parameter}" for parameter in PLAIN.parameters))}


def _along(rng: np.random.Generator) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Return what is seen of a gradient along one random direction."""
    seed = int(rng.integers(2**31))

    def sees(values: Mapping[str, Array]) -> dict[str, Array]:
        direction = np.random.default_rng(seed)
        return {
            "slope": np.array(sum(np.sum(values[n] * direction.standard_normal(values[n].shape)) for n in GRADIENTS))
        }

    return sees


_IMITATED = "imitated by its shapes, data and rules"
_GITHUB = "https://github.com/"
SUITES = (
    Suite(
        "ONNX node tests",
        _GITHUB + "onnx/onnx/blob/main/onnx/backend/test/case/node/lstm.py",
        "its own code: the cases that the package makes",
        "three tests of one step, and two of three steps for the directions, each of which is taken as a layer; all"
        " weights of a direction are the same number; states of zero. The test with peepholes is of another cell and"
        " not counted",
        onnx_tries,
        False,
        ONNX_RULE,
    ),
    Suite(
        "Keras 3, lstm_test",
        _GITHUB + "keras-team/keras/blob/master/keras/src/layers/rnn/lstm_test.py",
        "its own code: the tests that the wheel of Keras 3.15.1 ships, with PyTorch",
        "constant weights, so that all units are alike; the last output, and all outputs of two units under a mask; it"
        " is trained for a step, and no gradient compared with anything",
        list,
        False,
        KERAS_RULE,
        keras_own,
    ),
    Suite(
        "WebNN, lstmCell",
        _GITHUB + "web-platform-tests/wpt/tree/master/webnn/conformance_tests",
        f"{_IMITATED}; the reference gives its own numbers",
        "one step from zero states; rectifiers for every activation; the four gates have the same weights",
        webnn_tries,
        False,
        WEBNN_RULE,
    ),
    Suite(
        "KernelBench, level 3",
        _GITHUB + "ScalingIntelligence/KernelBench/tree/main/KernelBench/level3",
        f"{_IMITATED}, in one layer and smaller: (10, 64, 16, 32) for 512 steps of 128 elements and 256 units",
        "the last output through a linear layer, or the final states, to 1e-2 absolute and relative; no gradient",
        kernelbench_tries,
        False,
        KERNELBENCH_RULE,
    ),
    Suite(
        "torchrl, LSTM and LSTMCell",
        _GITHUB + "pytorch/rl",
        f"{_IMITATED}, in one layer",
        "under no_grad; where the layer is given states, both sides of the comparison are the same module",
        torchrl_tries,
        False,
        TORCHRL_RULE,
    ),
    Suite(
        "FlagGems, fused cell's backward pass",
        _GITHUB + "FlagOpen/FlagGems",
        _IMITATED,
        "one step; the products are given; an absolute tolerance of 5e-2 in every dtype",
        flaggems_tries,
        True,
        FLAGGEMS_RULE,
    ),
    Suite(
        "jax.experimental.rnn",
        _GITHUB + "jax-ml/jax/blob/main/tests/experimental_rnn_test.py",
        f"{_IMITATED}, in one layer and one direction",
        "the loss is the sum of the outputs, so the cotangent is 1 everywhere; what goes back to X and the states is"
        " asked along one direction, to 5e-3",
        jax_tries,
        True,
        JAX_RULE,
    ),
    Suite(
        "FlashRNN, kernels",
        _GITHUB + "NX-AI/flashrnn/blob/main/flashrnn/tests/test_lstm.py",
        f"{_IMITATED}, in one head: (64, 3, 64), (8, 64, 64) and (2, 3, 512) at most, for 1024 steps and 1024 units",
        "against a loop of its own in PyTorch, which is compared with PyTorch's LSTM in the forward pass alone; the"
        " product of X is given, so that U is no part of it; states"
        " of zero, whose gradients are masked, and a cotangent of h alone; an absolute tolerance of 0.1 and a relative"
        " one of 0.2 in float32, which is what is scored here (0.2 and 0.4 in bfloat16); a ValueError is a pass",
        flashrnn_tries,
        True,
        FLASHRNN_RULE,
    ),
    Suite(
        "fla, as its tests of HGRN",
        _GITHUB + "fla-org/flash-linear-attention/blob/main/tests/ops/test_hgrn.py",
        "it has no LSTM: what the rule and data of its nearest recurrence, (2, 1 to 63, 500), would leave alive of one",
        "normal numbers, all cotangents and all gradients; the root mean square of an array's error may be 0.005 of"
        " that of the array, so what is wrong in few entries is lost among the others",
        fla_tries,
        True,
        FLA_RULE,
    ),
    Suite(
        "fla, as in its own CI",
        _GITHUB + "fla-org/flash-linear-attention/blob/main/fla/utils/testing.py",
        "as the one before, with what its environment variable for CI makes of the rule",
        "an error of at most 0.3, or of 0.01 of the array, is a warning there",
        lambda: fla_tries(FLA_RULE_IN_CI),
        True,
        FLA_RULE_IN_CI,
    ),
    Suite(
        "oneDNN, benchdnn --rnn",
        _GITHUB + "uxlfoundation/oneDNN/blob/main/tests/benchdnn/rnn/rnn.cpp",
        f"{_IMITATED}, in its small problems of one layer and one direction in float32",
        "one weight in each column is not zero, and 0.25; all else is normal about 0.5 with a deviation of 0.01, so"
        " that nothing is negative and hardly anything differs; entry by entry at a single step, by the norm of each"
        " array at more; the tolerance grows with the logarithm of how much is added, from 1.9e-6",
        benchdnn_tries,
        True,
        _benchdnn_rule(4, 6, 5, backward=True, by_norm=True),
    ),
)


@cache
def candidates() -> tuple[Try, ...]:
    """Cases from which the few are chosen, each as a try that sees everything."""
    drawn = draw_cases(CANDIDATES, 0, dtypes=("float64",), max_dims=CANDIDATE_DIMS, regimes=("normal", "mixed", "x10"))
    return tuple(Try(case.arrays, _everything, Rule(0, 0)) for case in drawn if case.sequences)


@cache
def descriptors() -> tuple[str, ...]:
    """Return the candidates' names, as `verify --case` takes them."""
    drawn = draw_cases(CANDIDATES, 0, dtypes=("float64",), max_dims=CANDIDATE_DIMS, regimes=("normal", "mixed", "x10"))
    return tuple(case.descriptor for case in drawn if case.sequences)


@cache
def forward_faults() -> frozenset[str]:
    """Return the faults that a forward pass can show: those that change an output of some candidate."""
    shown = {
        id for id, fault in SOURCE_FAULTS.items() for kills in (_shows(fault, OUTPUTS, Rule(1e-9, 1e-9)),) if any(kills)
    }
    return frozenset(shown)


@cache
def _values(number: int, id: str) -> Mapping[str, Array]:
    """Return what a fault gives on a candidate, in the tensors that it changes."""
    one = candidates()[number]
    with np.errstate(all="ignore"):
        came, due = evaluate(SOURCE_FAULTS[id], one.arrays), one.due
    return {name: came[name] for name in due if not np.array_equal(came[name], due[name])}


def _shows(fault: Fault, names: Sequence[str], rule: Closeness) -> Iterator[bool]:
    """Tell for each candidate whether a fault shows on it in some tensors by a rule."""
    for number, one in enumerate(candidates()):
        changed = _values(number, fault.id)
        seen = [name for name in names if name in changed]
        yield bool(seen) and not rule.accepts(changed, one.due, seen)


def mend(
    alive: frozenset[str], names: Sequence[str], rule: Closeness, most: int = 7
) -> tuple[list[str], frozenset[str]]:
    """Return the candidates that see most of what is alive, one after the other, and what is left then."""
    table = {id: list(_shows(SOURCE_FAULTS[id], names, rule)) for id in sorted(alive)}
    chosen: list[str] = []
    left = set(alive)
    while left and len(chosen) < most:
        gains = [sum(table[id][k] for id in left) for k in range(len(candidates()))]
        best = int(np.argmax(gains))
        if not gains[best]:
            break
        chosen.append(descriptors()[best])
        left = {id for id in left if not table[id][best]}
    return chosen, frozenset(left)


def score(suite: Suite) -> dict[str, Any]:
    """Return what a suite leaves alive of the faults that it can be judged by, and what would mend it."""
    judged = frozenset(SOURCE_FAULTS) if suite.gradients else forward_faults()
    tries, own = suite.tries(), suite.own

    def kills(fault: Fault) -> bool:
        return bool(own(fault)) if own is not None else any(one.kills(fault) for one in tries)

    alive = frozenset(id for id in judged if not kills(SOURCE_FAULTS[id]))
    rest = [id for id in SOURCE_FAULTS if id not in judged] if own is not None else []
    orders = [id for id in judged if id.startswith("gate-order-")]
    names = (*OUTPUTS, *GRADIENTS) if suite.gradients else OUTPUTS
    chosen, left = mend(alive, names, suite.rule)
    return {
        "judged": len(judged),
        "alive": sorted(alive),
        "orders_alive": len(alive & set(orders)),
        "orders": len(orders),
        "mended_by": chosen,
        "left": sorted(left),
        "backward": len(rest),
        "backward_seen": sorted(id for id in rest if kills(SOURCE_FAULTS[id])),
    }


HEAD = "| suite | judged by | alive | of them gate orders | mended by | alive then |"


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return docs/suites.md."""
    rows, notes = [HEAD, "|---|---|---|---|---|---|"], []
    for suite in SUITES:
        one = found[suite.name]
        kind = "all faults" if suite.gradients else "forward faults"
        rows.append(
            f"| [{suite.name}]({suite.link}) | {one['judged']} {kind} | {len(one['alive'])} "
            f"| {one['orders_alive']} of {one['orders']} | {len(one['mended_by'])} cases | {len(one['left'])} |"
        )
        few = ", ".join(f"`{id}`" for id in one["left"][:4]) + (" ..." if len(one["left"]) > 4 else "")
        notes += [
            f"**{suite.name}** ({suite.how}): {suite.says}. It would be mended by "
            + (", ".join(f"`{name}`" for name in one["mended_by"]) or "nothing")
            + (f"; left then: {few}." if few else ", which leave nothing.")
            + _backward(one),
            "",
        ]
    total = max(one["judged"] for one in found.values())
    return PREFACE.format(total=total, forward=found[SUITES[0].name]["judged"]) + "\n".join(["", *rows, "", *notes])


def _backward(one: Mapping[str, Any]) -> str:
    """Return what is said of the faults that are in the backward pass alone, where a suite's own code was asked."""
    if not one.get("backward"):
        return ""
    seen = one["backward_seen"]
    told = f"{len(seen)}: {', '.join(f'`{id}`' for id in seen)}" if seen else "none"
    return f" Of the {one['backward']} other faults it sees {told}."


PREFACE = """# What other suites leave alive

Of the catalogue's {total} faults that are patches of the reference's source, {forward} show in the forward pass of some
small case, one of those from which the few that mend a suite are chosen. A suite that compares outputs alone is judged
by these; one that compares gradients, by all. What lives between calls, and the ways in which a gradient is asked for,
are in no suite here and not counted. The figures are written by a command:

```sh
python -m benchmarks.suites
```

The faults are planted in `lstm_ref`, in float64, and each suite's tests are asked whether they would fail. Two are run
in their own code: ONNX's data comes with its package, and Keras's wheel and source distribution ship `lstm_test.py`.
The others are imitated, which their notes say: shapes, data and acceptance rules are read from their
sources, and random numbers are drawn anew; layers above the first, directions and lengths are left out. There is no
test of an LSTM in the source distributions of JAX 0.10.2, flash-linear-attention 0.6.0 and FlashRNN 1.0.8, nor in the
wheels of torchrl 0.14.1 and FlagGems 5.0.2, which have no source distribution; benchdnn is a program of oneDNN's own
build, WebNN's tests run in a browser, and KernelBench is a repository.

The cases that mend a suite are chosen from small ones, each the one that shows most of what is alive still, within the
suite's own rule; `lstm-checks verify TARGET --case NAME` runs one. What is alive even then is mostly of two kinds:
casts to single precision and other small inaccuracies, which a tolerance of that width cannot show, and, for those
that compare gradients, what goes wrong past sizes that no small case has.

![What each suite leaves alive, before and after](suites.svg)
"""


def draw(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the picture: for each suite the share that is alive, and what is left with the few further cases."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [suite.name for suite in SUITES][::-1]
    before = [100 * len(found[name]["alive"]) / found[name]["judged"] for name in names]
    after = [100 * len(found[name]["left"]) / found[name]["judged"] for name in names]
    matplotlib.rcParams["svg.hashsalt"] = "suites"
    figure, axes = pyplot.subplots(figsize=(7.5, 4.4))
    axes.barh(names, before, color="#c44e52", label="as it is")
    axes.barh(names, after, color="#4c72b0", label="with a few further cases")
    axes.set_xlabel("faults alive, % of those that it is judged by")
    axes.set_xlim(0, 100)
    axes.legend(frameon=False, loc="lower right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    """Score every suite, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="suites with that in their name; the others stay as they were")
    only = parser.parse_args().only
    found = json.loads(DATA.read_text(encoding="utf-8")) if only else {}
    for suite in SUITES:
        if only not in suite.name:
            continue
        found[suite.name] = score(suite)
        one = found[suite.name]
        alive, left = len(one["alive"]), len(one["left"])
        print(f"{suite.name:40} {alive} of {one['judged']} alive, {left} with {one['mended_by']}", flush=True)
    replace_file(DATA, json.dumps(found, indent=1) + "\n")
    replace_file(PAGE, page(found))
    draw(found)


if __name__ == "__main__":
    main()
