"""A case on which the user's program is run again and again, and which tensors are wrong each time."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.calling import Outcome, call_target
from lstm_checks.cases import Case
from lstm_checks.contract import Target
from lstm_checks.oracles.expected import expect
from lstm_checks.repair.due import Due


@dataclass
class Trial:
    """A case, and all that is due for it.

    `folds` is whether the target has no argument for the final hidden state's cotangent, which is then in another.
    With `outputs_alone` nothing but the forward pass is run: where a library differentiates it, a value that is put in
    from outside has no gradient to pass on. `asked` is whether it was run before: the first run may have each operation
    compiled for its shapes, and has more time.
    """

    case: Case
    folds: bool = True
    outputs_alone: bool = False
    asked: bool = False

    def of(self, case: Case) -> "Trial":
        """Return the same of another case."""
        return replace(self, case=case, asked=False)

    @cached_property
    def forward(self) -> "Trial":
        """The same of the forward pass alone; what is due there is worked out once for both."""
        found = replace(self, outputs_alone=True)
        found.__dict__.update(due=self.due, accepted=self.accepted)
        return found

    @cached_property
    def due(self) -> Due:
        """Every value that there ought to be: to the target the final hidden state's cotangent is the last step's."""
        arrays = self.case.arrays
        if self.folds:
            every, final, *_ = arrays.cell.cotangents
            arrays = arrays.replaced(**{every: arrays.dh_total, final: np.zeros_like(arrays[final])})
        return Due(arrays)

    @cached_property
    def accepted(self) -> dict[str, tuple[Any, Any]]:
        """The value due for each tensor, and by how much an entry may differ."""
        expected = expect(self.case)
        names = expected.values
        return {n: (names[n], tolerance.accepted(expected.sd[n], self.case.dtype, expected.sigmas)) for n in names}

    @cached_property
    def chaotic(self) -> bool:
        """Whether rounding drowns what is due, so that nothing can be told."""
        return any(
            np.any(within > tolerance.RESOLUTION[self.case.dtype] * np.max(np.abs(value), initial=1e-300))
            for value, within in self.accepted.values()
        )

    def run(self, target: Target) -> Outcome:
        """Return what the target gives now."""
        seconds = tolerance.RUN_SECONDS if self.asked else tolerance.FIRST_RUN_SECONDS
        self.asked = True
        with limited(seconds):
            return call_target(target, self.case.arrays.copy(), self.case.sequences, not self.outputs_alone)

    def wrong(self, target: Target) -> frozenset[str]:
        """Return the names of the tensors that are wrong now; one that is no tensor's where it raised."""
        outcome = self.run(target)
        if outcome.error:
            return frozenset({f"error: {outcome.error}", *self.case.cell.tensors})
        found = []
        names = {name: name for name in self.case.cell.tensors if name not in target.lacks} | dict(target.twins)
        for name, like in names.items():
            if self.outputs_alone and name not in self.case.cell.outputs:
                continue
            due, within = self.accepted[like]
            came = outcome.values.get(name)
            due = outcome.shaped(like, due, self.case.cell)
            within = outcome.shaped(like, within, self.case.cell)
            if not isinstance(came, np.ndarray) or came.shape != due.shape or came.dtype != self.case.dtype:
                found.append(name)
                continue
            with np.errstate(all="ignore"):
                if not np.all(np.abs(came.astype(np.float64) - due) <= within):
                    found.append(name)
        return frozenset(found)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Stop what takes more of the processor than one run may, such as a loop that an edit has made endless."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*ignored: Any) -> None:
        raise TimeoutError("too long")

    before: Any = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def plain_array(value: Any) -> Any:
    """Return an array of numbers as NumPy's, whichever library's it is; None for anything else."""
    for _ in range(8):
        # What JAX differentiates is wrapped, once for each transformation.
        inner = getattr(value, "primal", None)
        if inner is None:
            break
        value = inner
    if isinstance(value, np.ndarray):
        return np.array(value) if value.dtype.kind == "f" and value.ndim else None
    kind = type(value)
    if kind.__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
        return np.array(value) if value.dtype.kind == "f" and value.ndim else None
    if hasattr(value, "__array__") and hasattr(value, "shape") and hasattr(value, "dtype"):
        try:
            value = np.asarray(value)
        except Exception:
            return None
        return np.array(value) if value.dtype.kind == "f" and value.ndim else None
    return None


def like(value: Any, array: Any) -> Any:
    """Return an array as one of the library, dtype and place of a value of the user's."""
    root = type(value).__module__.partition(".")[0]
    if root == "torch":
        import importlib

        torch = importlib.import_module("torch")
        return torch.as_tensor(array, dtype=value.dtype, device=value.device)
    if root in ("jax", "jaxlib"):
        import importlib

        return importlib.import_module("jax.numpy").asarray(array, dtype=value.dtype)
    return np.asarray(array, dtype=value.dtype)
