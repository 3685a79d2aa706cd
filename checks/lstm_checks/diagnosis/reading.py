"""How a target reads its parameters, where its forward pass is off: the one reading under which it is right.

Gate orders, transposes, biases and states are tried in all combinations, and other activations with weights and states
as given; all 24 gate orders go through the reference's equations at once, along a leading axis. A reading is told only
if it alone makes h and Cn right, on cases of several shapes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.contract import CN, PLAIN, STATES, Target
from lstm_checks.diagnosis.observe import Array, Observation, observe_once, suited
from lstm_checks.diagnosis.statement import Trial, accounted, try_values
from lstm_checks.diagnosis.work import Spare
from lstm_ref.activations import sigmoid

ORDERS = tuple(permutations(PLAIN.gates))
AS_GIVEN = "as given"

SHAPES = (Case(3, 3, 3, 3, seed=141), Case(2, 3, 4, 3, seed=142), Case(2, 4, 2, 5, seed=143))
"""Cases on which a reading must hold: with e = u, where every transpose is possible, and without."""


def _transposed(U: Array) -> Array:
    """Return the memory of (e, u) read as (u, e), and that transposed; the transpose where e is u."""
    *_, e, u = U.shape
    return U.reshape(*U.shape[:-2], u, e).swapaxes(-1, -2)


def _square_only(U: Array) -> Array:
    """Return the transpose where that has the same shape."""
    return U.swapaxes(-1, -2) if U.shape[-1] == U.shape[-2] else U


Change = Callable[[Array], Array]

WEIGHTS: dict[str, Change] = {AS_GIVEN: lambda W: W, "transposed": _transposed}
INPUT_WEIGHTS: dict[str, Change] = WEIGHTS | {"transposed where e is u": _square_only}
BIASES: dict[str, float] = {AS_GIVEN: 1.0, "ignored": 0.0, "added twice": 2.0}
FORGET: dict[str, float] = {AS_GIVEN: 0.0, "1 added to it at run time": 1.0}
STATE: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    AS_GIVEN: lambda h, C: (h, C),
    "h0 taken for C0 and C0 for h0": lambda h, C: (C, h),
    "both ignored": lambda h, C: (0 * h, 0 * C),
    "h0 ignored": lambda h, C: (0 * h, C),
    "C0 ignored": lambda h, C: (h, 0 * C),
}
LOGISTIC: dict[str, Change] = {
    AS_GIVEN: sigmoid,
    "a hard sigmoid, clip(0.2 x + 0.5)": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "a hard sigmoid, clip(x / 6 + 0.5)": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "tanh": np.tanh,
}
TANH: dict[str, Change] = {
    AS_GIVEN: np.tanh,
    "the identity": lambda x: x,
    "the logistic function": sigmoid,
    "max(x, 0)": lambda x: np.maximum(x, 0),
    "clip(x, -1, 1)": lambda x: np.clip(x, -1, 1),
}


@dataclass(frozen=True)
class Reading:
    """One way to read the parameters; each field but the order is a key of the table it is looked up in."""

    order: tuple[str, ...] = PLAIN.gates
    U: str = AS_GIVEN
    V: str = AS_GIVEN
    bias: str = AS_GIVEN
    forget: str = AS_GIVEN
    state: str = AS_GIVEN
    logistic: str = AS_GIVEN
    candidate: str = AS_GIVEN
    output: str = AS_GIVEN

    @property
    def changes(self) -> int:
        """How many of its fields differ from what is right."""
        return sum(getattr(self, name) != getattr(Reading(), name) for name in vars(self))

    def __str__(self) -> str:
        """Return what it is in words, what is as given left out."""
        said = []
        if self.order != PLAIN.gates:
            said.append(f"you read the gates {','.join(self.order)} where {','.join(PLAIN.gates)} was given")
        words = {
            "U": "each U {}",
            "V": "each V {}",
            "bias": "the biases {}",
            "forget": "the forget gate's bias has {}",
            "state": "of the initial states, {}",
            "logistic": "in place of the logistic function, {}",
            "candidate": "in place of the candidate's tanh, {}",
            "output": "in place of the memory's tanh, {}",
        }
        said += [form.format(getattr(self, name)) for name, form in words.items() if getattr(self, name) != AS_GIVEN]
        return "; ".join(said)


def find_reading(target: Target, spare: Spare) -> str:
    """Return in words the one reading of the parameters that makes the forward pass right; empty if there is none."""
    if target.cell is not PLAIN or set(target.absent) & set(target.cell.inputs):
        return ""  # the equations below are the plain cell's, with all that it takes
    left: list[Reading] | None = None
    seen: list[Observation] = []
    for case in SHAPES:
        asked = suited(target, case)
        if asked is None or not spare():
            return ""
        seen.append(observe_once(target, asked))
        came = {name: seen[-1].came.get(name) for name in PLAIN.outputs if name not in target.lacks}
        if any(value is None or value.ndim < seen[-1].expected.values[name].ndim for name, value in came.items()):
            return ""
        if left is None:
            left = _all_fitting(asked, came, target)
        else:
            left = [reading for reading in left if _fits(reading, asked, came)]
        if not left:
            return ""
    assert left is not None
    left.sort(key=lambda reading: reading.changes)
    # Of readings that differ in nothing that these cases show, the one with fewest changes.
    if not left[0].changes or (len(left) > 1 and left[1].changes == left[0].changes):
        return ""
    if not accounted(_try(left[0], observation) for observation in seen):
        return ""
    return f"{left[0]}: so read, h {'and Cn are' if CN not in target.lacks else 'is'} right"


def _try(reading: Reading, observation: Observation) -> Trial:
    """Return what a case says of a reading."""
    fields = [getattr(reading, name) for name in vars(reading) if name != "order"]
    h, Cn = _forward(observation.case, (reading.order,), *fields)
    return try_values(observation, {"h": h[0], "Cn": Cn[0]}, PLAIN.outputs)


def _all_fitting(case: Case, came: Mapping[str, Any], target: Target) -> list[Reading]:
    """Return every reading under which the reference gives what came."""
    found = []
    states = [AS_GIVEN] if STATES in target.lacks else list(STATE)
    layouts = product(INPUT_WEIGHTS, WEIGHTS, BIASES, FORGET, states)
    usual = [(*layout, AS_GIVEN, AS_GIVEN, AS_GIVEN) for layout in layouts]
    functions = product(LOGISTIC, TANH, TANH)
    activations = [
        (AS_GIVEN,) * 2 + (bias, forget, AS_GIVEN, *rest)
        for bias, forget, rest in product(BIASES, FORGET, functions)
        if set(rest) != {AS_GIVEN}
    ]
    # One step in all 24 orders at once leaves few readings; only these are run through all steps. Other activations are
    # tried with weights and states as given, or there would be 18,000 combinations for each order.
    first_step = {name: value[:, :1] for name, value in came.items() if name == "h"}
    for fields in usual + activations:
        h, _ = _forward(case, ORDERS, *fields, steps=1)
        for k in np.flatnonzero(_near(h, first_step.get("h"), case.dtype)):
            reading = Reading(ORDERS[int(k)], *fields)
            found += [reading] if _fits(reading, case, came) else []
    return found


def _fits(reading: Reading, case: Case, came: Mapping[str, Any]) -> bool:
    """Return whether the reference under a reading gives what came."""
    fields = [getattr(reading, name) for name in vars(reading) if name != "order"]
    h, Cn = _forward(case, (reading.order,), *fields)
    return bool(np.all(_near(h, came.get("h"), case.dtype) & _near(Cn, came.get("Cn"), case.dtype)))


def _near(values: Array, came: Array | None, dtype: str) -> Array:
    """Return for each order whether its values are what came; True where the target has none."""
    if came is None:
        return np.ones(len(values), bool)
    with np.errstate(all="ignore"):
        error = np.max(np.abs(values - came).reshape(len(values), -1), axis=1)
    limit = tolerance.READING[dtype] * float(np.max(np.abs(came)))
    return np.asarray(error <= limit)


def _forward(
    case: Case,
    orders: tuple[tuple[str, ...], ...],
    U: str,
    V: str,
    bias: str,
    forget: str,
    state: str,
    logistic: str,
    candidate: str,
    output: str,
    steps: int | None = None,
) -> tuple[Array, Array]:
    """Return h (orders, m, s, u) and Cn (orders, m, u) of equations (1) to (8) under one reading in several orders."""
    arrays = case.arrays.astype(np.float64)
    given = {kind: np.stack([arrays.p[kind + gate] for gate in PLAIN.gates]) for kind in "UVb"}
    given = {"U": INPUT_WEIGHTS[U](given["U"]), "V": WEIGHTS[V](given["V"]), "b": BIASES[bias] * given["b"]}
    places = np.array([[PLAIN.gates.index(gate) for gate in order] for order in orders])
    W = {kind + slot: given[kind][places[:, k]] for kind in "UVb" for k, slot in enumerate(PLAIN.gates)}
    W["bf"] = W["bf"] + FORGET[forget]
    act, act_g, act_C = LOGISTIC[logistic], TANH[candidate], TANH[output]
    h, C_ = STATE[state](arrays["h0"], arrays["C0"])
    trace = []
    with np.errstate(all="ignore"):
        for t in range(steps or case.s):
            f_, i_, g_, o_ = (arrays["X"][:, t] @ W["U" + k] + h @ W["V" + k] + W["b" + k] for k in PLAIN.gates)
            C_ = act(f_) * C_ + act(i_) * act_g(g_)
            h = act(o_) * act_C(C_)
            trace.append(h)
    return np.stack(trace, axis=-2), C_
