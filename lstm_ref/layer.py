"""The layer: it holds the dicts and checks what arrives; each method delegates to the functions beside it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lstm_ref.backward import lstm_backward
from lstm_ref.forward import lstm_forward
from lstm_ref.initialization import orthogonal
from lstm_ref.parameters import (
    lstm_compute_gradients,
    lstm_compute_shapes,
    lstm_initialize_parameters,
    lstm_update_parameters,
)
from lstm_ref.validation import (
    Array,
    check_array,
    check_clip_gradients,
    check_dtype,
    check_rng,
    check_sequences,
    check_unit_cells,
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
    ) -> None:
        self.d: dict[str, int] = {"u": check_unit_cells(unit_cells)}
        self.fs: dict[str, tuple[int, ...]] = {}
        self.p: dict[str, Array] = {}
        self.fc: dict[str, Array] = {}
        self.bc: dict[str, Array] = {}
        self.g: dict[str, Array] = {}
        self.sequences = check_sequences(sequences)
        if not callable(initialization):
            raise TypeError(f"initialization is {initialization!r}, expected a function of (shape, rng)")
        self.initialization = initialization
        self.clip_gradients = check_clip_gradients(clip_gradients)
        self.dtype = check_dtype(dtype)
        self.rng = check_rng(rng)
        self.lrate: Any = None
        self.e = 0

    def compute_shapes(self, X: Any) -> None:
        """Fill `d` and `fs` from the input sequences `X` (m, s, e)."""
        lstm_compute_shapes(self, X)

    def initialize_parameters(self) -> None:
        """Fill `p` with initial values drawn from `rng`."""
        lstm_initialize_parameters(self)

    def forward(self, X: Any, h0: Any = None, C0: Any = None) -> Array:
        """Return the hidden states `A` and keep every intermediate in `fc`.

        Parameters
        ----------
        X : array (m, s, e)
            The input sequences.
        h0, C0 : array (m, u), optional
            Initial hidden and memory state; zero where None.

        Returns
        -------
        array
            (m, s, u), or the last step's (m, u) unless `sequences`.

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
        m = X.shape[0]
        h0 = self._checked_state("h0", h0, m)
        C0 = self._checked_state("C0", C0, m)
        fc = lstm_forward(p, X.copy(), h0, C0)
        lstm_compute_shapes(self, X)
        fc["A"] = fc["h"] if self.sequences else fc["h"][:, -1]
        self.fc = fc
        self.bc = {}
        return fc["A"].copy()

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
        dh = dA.copy()
        if not self.sequences:
            dh = np.zeros_like(dA, shape=(m, s, u))
            dh[:, -1] = dA
        self.bc = lstm_backward(p, self.fc, dh, dhn, dCn)
        return self.bc["dX"].copy()

    def compute_gradients(self) -> None:
        """Fill `g` with the parameters' gradients, clipped where `clip_gradients` says so."""
        lstm_compute_gradients(self)

    def update_parameters(self) -> None:
        """Take one step of gradient descent at the rate `lrate[e]`."""
        lstm_update_parameters(self)

    def _checked_parameters(self, e: int | None = None) -> Mapping[str, Array]:
        """Return the parameters, each of the shape that u and e demand; e is the rows of `Uf` where None."""
        missing = [k + gate for gate in "figo" for k in "UVb" if k + gate not in self.p]
        if missing:
            raise RuntimeError(
                f"no parameters ({', '.join(missing)} missing): "
                "call compute_shapes(X) and initialize_parameters() first"
            )
        u = self.d["u"]
        if e is None and np.ndim(self.p["Uf"]):
            e = np.shape(self.p["Uf"])[0]
        checked = {}
        for gate in "figo":
            checked[f"U{gate}"] = check_array(f"p['U{gate}']", self.p[f"U{gate}"], (e, u), "(e, u)", self.dtype)
            checked[f"V{gate}"] = check_array(f"p['V{gate}']", self.p[f"V{gate}"], (u, u), "(u, u)", self.dtype)
            checked[f"b{gate}"] = check_array(f"p['b{gate}']", self.p[f"b{gate}"], (1, u), "(1, u)", self.dtype)
        return checked

    def _checked_state(self, name: str, state: Any, m: int) -> Array:
        """Return a state or its cotangent (m, u), zero where None, apart from the caller's array."""
        u = self.d["u"]
        if state is None:
            return np.zeros((m, u), self.dtype)
        return check_array(name, state, (m, u), "(m samples, u units)", self.dtype).copy()
