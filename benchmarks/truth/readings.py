"""Whether h and Cn are right under the reading of the parameters that a line tells, by a forward pass of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from truth.evidence import Evidence, Said, Verdict, all_explained, judge_share

from lstm_checks.cases import Arrays
from lstm_checks.contract import PLAIN


def logistic_function(x: Any) -> Any:
    """Return the logistic function."""
    return 0.5 * (1 + np.tanh(0.5 * x))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "a hard sigmoid, clip(0.2 x + 0.5)": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "a hard sigmoid, clip(x / 6 + 0.5)": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "tanh": np.tanh,
    "the identity": lambda x: x,
    "the logistic function": logistic_function,
    "max(x, 0)": lambda x: np.maximum(x, 0),
    "clip(x, -1, 1)": lambda x: np.clip(x, -1, 1),
}


def forward_pass(
    p: Mapping[str, Any],
    X: Any,
    h: Any,
    C: Any,
    logistic: Any = logistic_function,
    candidate: Any = np.tanh,
    output: Any = np.tanh,
) -> tuple[Any, Any]:
    """Return h (m, s, u) and the final memory of an LSTM with other activations, in plain NumPy."""
    trace = []
    for t in range(X.shape[1]):
        f, i, g, o = (X[:, t] @ p["U" + k] + h @ p["V" + k] + p["b" + k] for k in PLAIN.gates)
        C = logistic(f) * C + logistic(i) * candidate(g)
        h = logistic(o) * output(C)
        trace.append(h)
    return np.stack(trace, axis=1), C


def judge_layout(evidence: Evidence, text: str) -> Verdict:
    """Judge a reading of the parameters: that so read, h and Cn are right."""
    match = re.fullmatch(r"(.*): so read, (h|h and Cn) (?:is|are) right", text)
    if match is None:
        return Verdict(Said.UNJUDGED, "no known form")
    told: list[bool | None] = []
    for seen in evidence.failing():
        values = _read(seen.arrays.astype(np.float64), match[1].split("; "))
        if values is None:
            return Verdict(Said.UNJUDGED, "no known reading")
        told.append(all_explained(seen, values, PLAIN.outputs))
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _read(arrays: Arrays, said: Sequence[str]) -> dict[str, Any] | None:
    """Return the outputs under a reading; None if a part of it is of no known form."""
    p, h, C = dict(arrays.p), arrays["h0"], arrays["C0"]
    functions: dict[str, Any] = {}
    turned = {
        "transposed where e is u": lambda W: W.T if W.shape[0] == W.shape[1] else W,
        "transposed": lambda W: W.reshape(W.shape[::-1]).T,
    }
    order: Sequence[str] = PLAIN.gates
    for words in said:
        if match := re.fullmatch(r"you read the gates (\w,\w,\w,\w) where f,i,g,o was given", words):
            order = match[1].split(",")
        elif match := re.fullmatch(r"each ([UV]) (transposed(?: where e is u)?)", words):
            p |= {match[1] + k: turned[match[2]](p[match[1] + k]) for k in PLAIN.gates}
        elif match := re.fullmatch(r"the biases (ignored|added twice)", words):
            p |= {"b" + k: p["b" + k] * (0 if match[1] == "ignored" else 2) for k in PLAIN.gates}
        elif match := re.fullmatch(r"of the initial states, (.*)", words):
            h, C = {
                "h0 taken for C0 and C0 for h0": (C, h),
                "both ignored": (0 * h, 0 * C),
                "h0 ignored": (0 * h, C),
                "C0 ignored": (h, 0 * C),
            }[match[1]]
        elif match := re.fullmatch(r"in place of the (logistic function|candidate's tanh|memory's tanh), (.*)", words):
            place = {"logistic function": "logistic", "candidate's tanh": "candidate", "memory's tanh": "output"}
            functions[place[match[1]]] = FUNCTIONS[match[2]]
        elif words != "the forget gate's bias has 1 added to it at run time":
            return None
    read = {kind + gate: p[kind + other] for kind in "UVb" for gate, other in zip(PLAIN.gates, order, strict=True)}
    if "the forget gate's bias has 1 added to it at run time" in said:
        read["bf"] = read["bf"] + 1
    with np.errstate(all="ignore"):
        h, C = forward_pass(read, arrays["X"], h, C, **functions)
    return {"h": h, "Cn": C}
