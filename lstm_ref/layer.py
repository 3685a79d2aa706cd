"""The layer: it holds the dicts and checks what arrives; each method delegates to the functions beside it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lstm_ref.backward import lstm_backward
from lstm_ref.forward import lstm_forward
from lstm_ref.initialization import orthogonal
from lstm_ref.lengths import padded_backward, padded_forward
from lstm_ref.parameters import (
    PARAMETERS,
    lstm_compute_gradients,
    lstm_compute_shapes,
    lstm_initialize_parameters,
    lstm_update_parameters,
    parameter_shapes,
)
from lstm_ref.validation import (
    Array,
    check_array,
    check_clip_gradients,
    check_dtype,
    check_flag,
    check_lengths,
    check_names,
    check_rng,
    check_size,
)


class LSTM:
    """A long short-term memory layer (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    Parameters
    ----------
    unit_cells : int
        Number of units u.
    sequences : bool
        Whether `forward` returns the hidden state of every step, or of the last one only.
    initialization : callable
        `initialization(shape, rng)` returns an initial weight matrix.
    clip_gradients : bool or float
        Limit of the gradients' global norm; True means 0.25, False none.
    dtype : dtype
        float32 or float64: of the parameters and of every array given and returned.
    rng : None, int or numpy.random.Generator
        Source of the initial parameters.
    stateful : bool
        Whether a forward pass that is given no initial states goes on from the last one's final states, until
        `reset_states`. No gradient goes back into that pass.

    Attributes
    ----------
    d : dict
        The sizes m (samples), s (steps), e (elements), u (units).
    fs : dict
        The shape of every array, by name.
    p : dict
        The parameters: `Uf` (e, u), `Vf` (u, u), `bf` (1, u), and so for the gates i, g and o.
    fc, bc : dict
        Every intermediate of the forward and of the backward pass.
    g : dict
        The gradients `dUf` ... `dbo`, shaped like the parameters.
    lrate : sequence of float, optional
        Learning rate by epoch, to be set by the user.
    e : int
        The epoch.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.ones((2, 5, 3))
    >>> layer = LSTM(4, sequences=True, rng=0)
    >>> layer.compute_shapes(X)
    >>> layer.initialize_parameters()
    >>> A = layer.forward(X)
    >>> dX = layer.backward(np.ones_like(A))
    >>> layer.compute_gradients()
    >>> A.shape, dX.shape, layer.g["dVf"].shape
    ((2, 5, 4), (2, 5, 3), (4, 4))
    """

    def __init__(
        self,
        unit_cells: int = 1,
        *,
        sequences: bool = False,
        initialization: Callable[[tuple[int, int], np.random.Generator], Array] = orthogonal,
        clip_gradients: bool | float = False,
        dtype: Any = np.float64,
        rng: int | np.random.Generator | None = None,
        stateful: bool = False,
    ) -> None:
        self.d: dict[str, int] = {"u": check_size("unit_cells", unit_cells)}
        self.fs: dict[str, tuple[int, ...]] = {}
        self.p: dict[str, Array] = {}
        self.fc: dict[str, Array] = {}
        self.bc: dict[str, Array] = {}
        self.g: dict[str, Array] = {}
        self.sequences = check_flag("sequences", sequences)
        if not callable(initialization):
            raise TypeError(f"initialization is {initialization!r}, expected a function of (shape, rng)")
        self.initialization = initialization
        self.clip_gradients = check_clip_gradients(clip_gradients)
        self.dtype = check_dtype(dtype)
        self.rng = check_rng(rng)
        self.stateful = check_flag("stateful", stateful)
        self.lrate: Any = None
        self.e = 0
        self._lengths: Array | None = None  # of the last forward pass
        self._final: tuple[Array, Array] | None = None  # the states that a stateful layer goes on from

    def __repr__(self) -> str:
        known = f", e={self.d['e']}" if "e" in self.d else ""
        kinds = "".join(f", {name}=True" for name in ("sequences", "stateful") if getattr(self, name))
        return f"LSTM({self.d['u']}{known}{kinds}, dtype={self.dtype})"

    def compute_shapes(self, X: Any) -> None:
        """Fill `d` and `fs` from the input sequences `X` (m, s, e)."""
        lstm_compute_shapes(self, X)

    def initialize_parameters(self, elements: int | None = None) -> None:
        """Fill `p` with initial values drawn from `rng`; `elements`, the size e, spares `compute_shapes`."""
        if elements is not None:
            self.d["e"] = check_size("elements", elements)
            self.fs.update(parameter_shapes(self.d["e"], self.d["u"]))
        lstm_initialize_parameters(self)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the twelve parameters by name, as `numpy.savez` and safetensors take them."""
        return {name: value.copy() for name, value in self._checked_parameters().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy in all twelve parameters, of `state_dict` or read from a file; the size e follows from them.

        Raises
        ------
        ValueError
            A name is missing, or is none of the twelve; a shape does not fit. No parameter is changed then.
        TypeError
            A dtype does not fit. No parameter is changed then.
        """
        check_names(state, PARAMETERS)
        found = {name: value.copy() for name, value in self._checked(state).items()}
        self.p.update(found)
        self.d["e"] = found["Uf"].shape[0]
        self.fs.update(parameter_shapes(self.d["e"], self.d["u"]))

    def reset_states(self) -> None:
        """Have the next forward pass of a stateful layer begin with zero states."""
        self._final = None

    def forward(
        self, X: Any, h0: Any = None, C0: Any = None, *, lengths: Any = None, return_states: bool = False
    ) -> Any:
        """Return the hidden states `A` and keep every intermediate in `fc`.

        Parameters
        ----------
        X : array (m, s, e)
            The input sequences.
        h0, C0 : array (m, u), optional
            Initial hidden and memory state; where None zero, or the last final one if the layer is stateful.
        lengths : array of int (m,), optional
            How many steps each sample has, from 0 to s, where a batch is padded. `A` and all intermediates are zero
            in the padding, and the last step is each sample's own.
        return_states : bool
            Whether the final states are returned, too.

        Returns
        -------
        array, or tuple of arrays
            (m, s, u), or the last step's (m, u) unless `sequences`. With `return_states` (A, hn, Cn), the final
            hidden and memory state (m, u) after it; they are in `fc` as well.

        Raises
        ------
        RuntimeError
            When there are no parameters yet.
        TypeError
            "X has dtype int64, expected float64: pass X.astype(np.float64)".
        ValueError
            When a shape does not fit; the message gives what came and what was expected.
        """
        p = self._checked_parameters()
        X = check_array("X", X, (None, None, p["Uf"].shape[0]), "(m samples, s steps, e elements)", self.dtype)
        m, s = X.shape[:2]
        h0, C0 = self._initial_states(h0, C0, m)
        if lengths is None:
            fc = lstm_forward(p, X.copy(), h0, C0)
            fc["hn"], fc["Cn"] = fc["h"][:, -1], fc["C_"][:, -1]
        else:
            lengths = check_lengths(lengths, m, s)
            fc = padded_forward(p, X, h0, C0, lengths)
        lstm_compute_shapes(self, X)
        fc["A"] = fc["h"] if self.sequences else fc["hn"]
        self.fc, self.bc, self._lengths = fc, {}, lengths
        if self.stateful:
            self._final = fc["hn"].copy(), fc["Cn"].copy()
        A = fc["A"].copy()
        return (A, fc["hn"].copy(), fc["Cn"].copy()) if return_states else A

    def backward(self, dA: Any, dhn: Any = None, dCn: Any = None) -> Array:
        """Return the cotangent `dX` (m, s, e) and keep every other in `bc`, `dh0` and `dC0` among them.

        Parameters
        ----------
        dA : array
            Cotangent of what `forward` returned, of the same shape.
        dhn, dCn : array (m, u), optional
            Cotangents of the final hidden state (in addition to `dA`) and of the final memory state; zero where None.

        Raises
        ------
        RuntimeError
            When there has been no forward pass.
        TypeError, ValueError
            When a dtype or a shape does not fit; the message gives what came and what was expected.
        """
        if "A" not in self.fc:
            raise RuntimeError("backward before forward: call forward(X) first")
        m, s, u = self.fc["h"].shape
        p = self._checked_parameters(e=self.fc["X"].shape[-1])
        axes = "those of what forward returned"
        dA = check_array("dA", dA, self.fc["A"].shape, axes, self.dtype)
        dhn = self._checked_state("dhn", dhn, m)
        dCn = self._checked_state("dCn", dCn, m)
        if self._lengths is not None:
            dh = dA if self.sequences else np.zeros_like(dA, shape=(m, s, u))
            self.bc = padded_backward(p, self.fc, dh, dhn if self.sequences else dhn + dA, dCn, self._lengths)
            return self.bc["dX"].copy()
        dh = dA.copy()
        if not self.sequences:
            dh = np.zeros_like(dA, shape=(m, s, u))
            dh[:, -1] = dA
        self.bc = lstm_backward(p, self.fc, dh, dhn, dCn)
        return self.bc["dX"].copy()

    def compute_gradients(self, accumulate: bool = False) -> None:
        """Fill `g` with the parameters' gradients, clipped where `clip_gradients` says so.

        With `accumulate` they are added to those that are there, and the sum is clipped.
        """
        lstm_compute_gradients(self, accumulate)

    def update_parameters(self) -> None:
        """Take one step of gradient descent at the rate `lrate[e]`."""
        lstm_update_parameters(self)

    def _checked_parameters(self, e: int | None = None) -> Mapping[str, Array]:
        """Return the parameters, each of the shape that u and e demand; e is the rows of `Uf` where None."""
        missing = [name for name in PARAMETERS if name not in self.p]
        if missing:
            raise RuntimeError(
                f"no parameters ({', '.join(missing)} missing): "
                "call compute_shapes(X) and initialize_parameters() first"
            )
        return self._checked(self.p, e)

    def _checked(self, p: Mapping[str, Any], e: int | None = None) -> Mapping[str, Array]:
        """Return twelve arrays, each of the shape that u and e demand; e is the rows of `Uf` where None."""
        u = self.d["u"]
        if e is None and np.ndim(p["Uf"]):
            e = np.shape(p["Uf"])[0]
        checked = {}
        for gate in "figo":
            checked[f"U{gate}"] = check_array(f"p['U{gate}']", p[f"U{gate}"], (e, u), "(e, u)", self.dtype)
            checked[f"V{gate}"] = check_array(f"p['V{gate}']", p[f"V{gate}"], (u, u), "(u, u)", self.dtype)
            checked[f"b{gate}"] = check_array(f"p['b{gate}']", p[f"b{gate}"], (1, u), "(1, u)", self.dtype)
        return checked

    def _initial_states(self, h0: Any, C0: Any, m: int) -> tuple[Array, Array]:
        """Return the initial states (m, u): as given, where a stateful layer stopped, or zero."""
        if h0 is None and C0 is None and self._final is not None:
            h0, C0 = self._final
            if len(h0) != m:
                raise ValueError(
                    f"X has {m} samples, expected {len(h0)}, as the states have that this stateful layer goes on from: "
                    "pass the same samples on, or call reset_states()"
                )
        return self._checked_state("h0", h0, m), self._checked_state("C0", C0, m)

    def _checked_state(self, name: str, state: Any, m: int) -> Array:
        """Return a state or its cotangent (m, u), zero where None, apart from the caller's array."""
        u = self.d["u"]
        if state is None:
            return np.zeros((m, u), self.dtype)
        return check_array(name, state, (m, u), "(m samples, u units)", self.dtype).copy()
