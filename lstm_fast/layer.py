"""The layer: checks its input, keeps the state between calls, and delegates the arithmetic.

All checks of a call come before anything is changed, so a call that is refused leaves the layer as
it was. (A pass that is *interrupted*, by Ctrl-C or by ``np.errstate(all='raise')`` on a true
overflow, has overwritten its buffers: the parameters are safe, and backward asks for a new forward
pass.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from lstm_fast import parameters
from lstm_fast.cache import BackwardCache, Cache, ForwardCache
from lstm_fast.initialization import orthogonal
from lstm_fast.layouts import make_workspace, run_backward, run_forward
from lstm_fast.lengths import PaddedCache, PaddedPass
from lstm_fast.packing import PARAMETERS, NoParameters, Parameters, named_views, split
from lstm_fast.validation import (
    as_input,
    as_lengths,
    as_shaped,
    check_clip,
    check_dtype,
    check_rng,
    check_size,
    check_state_dict,
)
from lstm_fast.workspace import Workspace

__all__ = ["LSTM"]

KEPT_NOTHING = "the last forward pass kept nothing for it: call forward(X) with keep_cache=True"


class LSTM:
    """A fused LSTM layer over m samples of s steps of e elements, with u unit cells.

    With K = X_t U + h_{t-1} V + b per gate, f, i, o = sigmoid(K), g = tanh(K)::

        C_ = f * Cp_ + i * g        h = o * tanh(C_)

    Parameters
    ----------
    unit_cells : int
        u, at least 1.
    sequences : bool
        Whether forward returns h of every step, (m, s, u), or of the last, (m, u).
    initialization : callable
        ``initialization(shape, rng)`` returning an array of `shape`.
    clip_gradients : bool or float
        Limit on the global 2-norm of the twelve gradients; True means 0.25, False no limit.
    dtype : float32 or float64
        Of everything: parameters, input, cotangents, results, and all arithmetic.
    rng : None, int or numpy.random.Generator
        For the first values of the parameters.
    stateful : bool
        Whether a forward pass without h0 and C0 begins where the last one ended; `reset_states` begins
        anew. No gradient flows back from one pass into the one before.

    Attributes
    ----------
    d : dict
        Dimensions u, and m, s, e once known.
    fs : dict
        The shape of every named array.
    p : Parameters
        The twelve parameters Uf, Vf, bf .. bo: live views into `U`, `V`, `b`. Writing through a
        view, assigning to an entry (which copies) and assigning to `p` are all seen by the next
        forward pass.
    fc, bc : Cache
        Every intermediate of the last forward and backward pass, unpacked when first read; see
        :mod:`lstm_fast.cache`.
    g : dict
        The twelve gradients dUf .. dbo, views into `dU`, `dV`, `db`. Each compute_gradients makes
        new arrays: gradients taken earlier keep their values.
    lrate, e
        Learning rates indexed by epoch (None until set), and the epoch, 0 at first.

    Notes
    -----
    *Threads.* Two layers in two threads never interfere. A layer that is entered while another
    thread is inside one of its methods raises RuntimeError. Forward and backward passes of
    different threads on one layer would be mixed up even so: give each thread its own layer
    (``copy.deepcopy`` works, as does pickling).

    *Returned arrays* are the caller's: nothing returned or read from `fc`, `bc` or `g` is ever
    overwritten by a later call. Inputs are never written to, and may change after a call.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((2, 5, 4))
    >>> layer = LSTM(3, sequences=True, rng=0)
    >>> layer.compute_shapes(X)
    >>> layer.initialize_parameters()
    >>> A = layer.forward(X)
    >>> A.shape
    (2, 5, 3)
    >>> layer.backward(np.ones_like(A)).shape
    (2, 5, 4)
    >>> layer.compute_gradients()
    >>> layer.g["dUf"].shape
    (4, 3)
    """

    def __init__(
        self,
        unit_cells: int = 1,
        *,
        sequences: bool = False,
        initialization: Callable[..., Any] = orthogonal,
        clip_gradients: bool | float = False,
        dtype: Any = np.float64,
        rng: int | np.random.Generator | None = None,
        stateful: bool = False,
    ) -> None:
        for name, value in (("sequences", sequences), ("stateful", stateful)):
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{name} is {value!r}; expected True or False")
        if not callable(initialization):
            raise TypeError(f"initialization is {initialization!r}; expected a function of (shape, rng)")
        check_clip(clip_gradients)
        self.d: dict[str, int] = {"u": check_size("unit_cells", unit_cells)}
        self.fs: dict[str, tuple[int, ...]] = {}
        self.dtype = check_dtype(dtype)
        self.rng = check_rng(rng)
        self.sequences, self.stateful = bool(sequences), bool(stateful)
        self.initialization = initialization
        self.clip_gradients = clip_gradients
        self.lrate: Any = None
        self.e = 0
        self.fc: Cache | Mapping[str, Any] = Cache("fc")
        self.bc: Cache | Mapping[str, Any] = Cache("bc")
        self.g: dict[str, np.ndarray] = {}
        self._parameters: Parameters | None = None
        self._dW: np.ndarray | None = None
        self._workspace: Workspace | None = None  # buffers with a cache for the backward pass
        self._lean: Workspace | None = None  # buffers without
        self._forward: ForwardCache | None = None  # of the pass that backward would belong to
        self._backward: BackwardCache | None = None
        self._padded: PaddedPass | None = None  # in place of these two, of samples of different lengths
        self._carried: tuple[np.ndarray, np.ndarray] | None = None  # where a stateful layer goes on
        self._why_not = "there was no forward pass: call forward(X) first"
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        known = f", e={self.d['e']}" if "e" in self.d else ""
        kinds = "".join(f", {name}=True" for name in ("sequences", "stateful") if getattr(self, name))
        return f"LSTM({self.d['u']}{known}{kinds}, dtype={self.dtype.name})"

    @contextmanager
    def _exclusive(self, method: str) -> Iterator[None]:
        """Hold the layer for one call; refuse if another holds it."""
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                f"{method} was called while another call on this layer is running; use one layer "
                "per thread (copy.deepcopy(layer))"
            )
        try:
            yield
        finally:
            self._lock.release()

    # Parameters and gradients -------------------------------------------------------------------

    @property
    def p(self) -> Any:
        """The twelve parameters by name; live views. Assigning a dict copies its arrays in."""
        return NoParameters() if self._parameters is None else self._parameters

    @p.setter
    def p(self, values: Mapping[str, Any]) -> None:
        self._store.assign(dict(values))

    @property
    def _store(self) -> Parameters:
        """The parameters, which exist once e is known."""
        if self._parameters is None:
            raise RuntimeError("the parameters' shapes are not known yet: call compute_shapes(X) first")
        return self._parameters

    def _big(self, kind: str) -> np.ndarray:
        """Return the view U, V or b of the whole parameter matrix."""
        return split(self._store.W)["UVb".index(kind)]

    def _set_big(self, kind: str, values: Any) -> None:
        """Copy values into the whole U, V or b."""
        target = self._big(kind)
        target[...] = as_shaped(kind, values, self.dtype, target.shape, "see lstm_fast.packing")
        self._store.mark_assigned(kind)

    @property
    def U(self) -> np.ndarray:
        """The input weights of all gates, (e, 4u), columns in the order lstm_fast.packing.GATES."""
        return self._big("U")

    @U.setter
    def U(self, values: Any) -> None:
        self._set_big("U", values)

    @property
    def V(self) -> np.ndarray:
        """The recurrent weights of all gates, (u, 4u), columns in the order GATES."""
        return self._big("V")

    @V.setter
    def V(self, values: Any) -> None:
        self._set_big("V", values)

    @property
    def b(self) -> np.ndarray:
        """The biases of all gates, (4u,), in the order GATES."""
        return self._big("b")

    @b.setter
    def b(self, values: Any) -> None:
        self._set_big("b", values)

    def _big_gradient(self, kind: str) -> np.ndarray:
        """Return the view dU, dV or db."""
        if self._dW is None:
            raise RuntimeError(f"there is no d{kind} yet: call compute_gradients() first")
        return split(self._dW)["UVb".index(kind)]

    @property
    def dU(self) -> np.ndarray:
        """The gradient of `U`, (e, 4u)."""
        return self._big_gradient("U")

    @property
    def dV(self) -> np.ndarray:
        """The gradient of `V`, (u, 4u)."""
        return self._big_gradient("V")

    @property
    def db(self) -> np.ndarray:
        """The gradient of `b`, (4u,)."""
        return self._big_gradient("b")

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of the twelve parameters by name: what `numpy.savez` and safetensors store."""
        store = self._complete()
        return {name: np.array(store[name]) for name in PARAMETERS}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy in the twelve parameters of a `state_dict`; `np.load(path)` will do. They decide e.

        Raises
        ------
        TypeError, ValueError
            A name is missing or unknown; a dtype; a shape. Nothing is changed then.
        """
        with self._exclusive("load_state_dict"):
            check_state_dict(state, PARAMETERS)
            values = {name: np.asarray(state[name]) for name in PARAMETERS}
            e = values["Uf"].shape[0] if values["Uf"].ndim == 2 and len(values["Uf"]) else 1
            store = self._sized(e)
            Parameters(e, self.d["u"], self.dtype).assign(values)  # refused here, if anywhere
            self._parameters = store
            store.assign(values)
            self.d["e"] = e
            self.fs.update(parameters.parameter_shapes(e, self.d["u"]))

    def _sized(self, e: int) -> Parameters:
        """Return the parameters there are if they are of e elements, or else new ones."""
        store, u = self._parameters, self.d["u"]
        return store if store is not None and store.W.shape[0] == u + e + 1 else Parameters(e, u, self.dtype)

    def _complete(self) -> Parameters:
        """Return the parameters, all of which must have been set."""
        store = self._parameters
        if store is None:
            raise RuntimeError("the layer has no parameters: call compute_shapes(X) and initialize_parameters()")
        if store.missing:
            raise RuntimeError(
                f"parameters not set: {', '.join(store.missing)}; call initialize_parameters() or "
                "assign them to layer.p"
            )
        return store

    # The methods of a layer ---------------------------------------------------------------------

    def compute_shapes(self, X: Any) -> None:
        """Fill `d` and `fs` from X (m, s, e), and make room for parameters that fit.

        Parameters of an earlier call stay if e is the same, and are dropped otherwise.

        Raises
        ------
        TypeError
            X is not of the layer's dtype.
        ValueError
            X has not three axes, or one of length 0.
        """
        with self._exclusive("compute_shapes"):
            store = self._sized(as_input(X, self.dtype).shape[2])
            parameters.lstm_compute_shapes(self, X)
            self._parameters = store

    def initialize_parameters(self, elements: int | None = None) -> None:
        """Draw the parameters; see :func:`lstm_fast.lstm_initialize_parameters`.

        `elements` says e where no X has been seen yet, in place of compute_shapes.
        """
        with self._exclusive("initialize_parameters"):
            if elements is not None:
                e = check_size("elements", elements)
                self._parameters = self._sized(e)
                self.d["e"] = e
                self.fs.update(parameters.parameter_shapes(e, self.d["u"]))
            parameters.lstm_initialize_parameters(self)

    def reset_states(self) -> None:
        """Have a stateful layer's next forward pass begin with zero states."""
        self._carried = None

    def forward(
        self,
        X: Any,
        h0: Any = None,
        C0: Any = None,
        *,
        lengths: Any = None,
        return_states: bool = False,
        keep_cache: bool = True,
    ) -> Any:
        """Return h of every step, (m, s, u), or of the last, (m, u), by `sequences`.

        Parameters
        ----------
        X : array_like
            (m, s, e), of the layer's dtype; any strides and byte order. m and s may differ from
            call to call.
        h0, C0 : array_like, optional
            (m, u), the states before the first step. If both are None, where a stateful layer's last
            pass ended; if None, else, zeros.
        lengths : array_like of int, optional
            (m,), the steps of each sample, from 0 to s, if the batch is padded. The result is zero in
            the padding, as all intermediates are, and a sample's last step is that of its length. The
            cost is that of the steps, not of the padding.
        return_states : bool
            True for (A, hn, Cn): the final states (m, u) too, each an array of its own.
        keep_cache : bool
            False for inference: `fc` then holds only hn and Cn (m, u), the final states, the
            memory needed beyond the result is of the order of m u, and backward is not possible.

        Raises
        ------
        RuntimeError
            Parameters are missing.
        TypeError, ValueError
            An argument's dtype; its shape.
        """
        with self._exclusive("forward"):
            A = self._run_forward(X, h0, C0, lengths, bool(keep_cache))
            if not (return_states or self.stateful):
                return A
            final = self._final_states()
            if self.stateful:
                self._carried = final
            return (A, *(state.copy() for state in final)) if return_states else A

    def _final_states(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the final h and memory of the last forward pass, (m, u) each."""
        if self._padded is not None:
            return self._padded.final
        if self._forward is not None:
            return self._forward._workspace.final_states()
        return self.fc["hn"], self.fc["Cn"]

    def _initial_states(self, h0: Any, C0: Any, m: int) -> tuple[Any, Any]:
        """Return the checked initial states: as given, carried over, or None."""
        if h0 is None and C0 is None and self._carried is not None:
            h0, C0 = self._carried
            if len(h0) != m:
                raise ValueError(
                    f"X has {m} samples; expected {len(h0)}, those whose states this stateful layer holds: "
                    "pass the same samples, or call reset_states() first"
                )
        shape = (m, self.d["u"])
        if h0 is not None:
            h0 = as_shaped("h0", h0, self.dtype, shape, "(m, u)")
        if C0 is not None:
            C0 = as_shaped("C0", C0, self.dtype, shape, "(m, u)")
        return h0, C0

    def _run_forward(self, X: Any, h0: Any, C0: Any, lengths: Any, keep: bool) -> np.ndarray:
        store, dtype, u = self._complete(), self.dtype, self.d["u"]
        X = as_input(X, dtype, store.W.shape[0] - u - 1)
        m, s, e = X.shape
        h0, C0 = self._initial_states(h0, C0, m)
        if lengths is not None:
            return self._run_padded(X, h0, C0, as_lengths(lengths, m, s), keep)
        sequences = bool(self.sequences)
        A = np.empty((m, s, u) if sequences else (m, u), dtype)
        workspace = self._workspace if keep else self._lean
        if workspace is None or workspace.shape != (m, s, e, u) or not workspace.usable():
            workspace = make_workspace(m, s, e, u, dtype, keep)

        # From here on the state changes.
        workspace.expire_readers()
        self._forward = self._backward = self._padded = None
        self._why_not = "the last forward pass was interrupted: call forward(X) again"
        if keep:
            self._workspace = workspace
        else:
            self._lean = workspace
        workspace.pack_weights(store.W)
        run_forward(workspace, X, h0, C0, A)
        self._note_shapes(m, s, e, A)
        self.bc = Cache("bc")
        if keep:
            self.fc = self._forward = ForwardCache(workspace, sequences)
            workspace.readers["fc"] = self._forward
        else:
            final = workspace.final_states()
            self.fc = Cache("fc", dict(zip(("hn", "Cn"), final, strict=True)))
            self._why_not = KEPT_NOTHING
        return A

    def _note_shapes(self, m: int, s: int, e: int, A: np.ndarray) -> None:
        """Fill `d` and `fs` with what a pass had."""
        if self.d.get("m") != m or self.d.get("s") != s or self.d.get("e") != e:
            self.d.update(m=m, s=s, e=e)
            self.fs.update(parameters.shapes(m, s, e, self.d["u"]))
        self.fs["A"] = A.shape

    def _run_padded(self, X: np.ndarray, h0: Any, C0: Any, lengths: np.ndarray, keep: bool) -> np.ndarray:
        """Return A of samples of different lengths."""
        m, s, e = X.shape
        u, dtype = self.d["u"], self.dtype

        def part() -> LSTM:
            layer = LSTM(u, sequences=True, dtype=dtype, rng=0)
            layer._parameters = self._parameters
            return layer

        zeros = np.zeros((m, u), dtype)
        h0, C0 = (zeros if state is None else state.astype(dtype) for state in (h0, C0))
        self._forward = self._backward = self._padded = None
        self._why_not = "the last forward pass was interrupted: call forward(X) again"
        self._padded = padded = PaddedPass(part, X, h0, C0, lengths, bool(self.sequences), keep)
        A, final = padded.A, {name: state.copy() for name, state in zip(("hn", "Cn"), padded.final, strict=True)}
        self._note_shapes(m, s, e, A)
        self.fc, self.bc = padded.fc or Cache("fc", final), Cache("bc")
        if not keep:
            self._why_not = KEPT_NOTHING
        return A.copy()

    def backward(self, dA: Any, dhn: Any = None, dCn: Any = None) -> np.ndarray:
        """Return dX (m, s, e), the cotangent of the last forward pass's X.

        May be called several times after one forward pass. It differentiates that pass, at the
        parameters it used, even if they have been changed since.

        Parameters
        ----------
        dA : array_like
            Cotangent of what forward returned, in its shape.
        dhn, dCn : array_like, optional
            (m, u), further cotangents of the final h and the final memory C_; zeros if None.

        Raises
        ------
        RuntimeError
            There was no forward pass, or it kept no cache.
        TypeError, ValueError
            An argument's dtype; its shape.
        """
        with self._exclusive("backward"):
            return self._run_backward(dA, dhn, dCn)

    def _run_backward(self, dA: Any, dhn: Any, dCn: Any) -> np.ndarray:
        padded, dtype = self._padded, self.dtype
        if padded is not None and padded.fc is not None:
            (m, s, e, u), sequences = padded.shape, padded.sequences
        elif self._forward is not None:
            (m, s, e, u), sequences = self._forward._workspace.shape, self._forward._sequences
        else:
            raise RuntimeError(f"backward cannot run: {self._why_not}")
        shape = (m, s, u) if sequences else (m, u)
        dA = as_shaped("dA", dA, dtype, shape, "the shape of the forward pass's result")
        if dhn is not None:
            dhn = as_shaped("dhn", dhn, dtype, (m, u), "(m, u)").astype(dtype)
        if dCn is not None:
            dCn = as_shaped("dCn", dCn, dtype, (m, u), "(m, u)").astype(dtype)
        if padded is not None:
            self.bc = Cache("bc")
            self.bc = padded.backward(dA, dhn, dCn)
            return self.bc["dX"].copy()
        assert self._forward is not None
        workspace = self._forward._workspace
        dX = np.empty((m, s, e), dtype)
        dh0, dC0 = np.empty((m, u), dtype), np.empty((m, u), dtype)

        workspace.allocate_backward(sequences)
        if self._backward is not None:
            self._backward.expire()
        self.bc, self._backward = Cache("bc"), None
        workspace.pack_weights_back()
        run_backward(workspace, dA, dhn, dCn, dX, dh0, dC0)
        ready = {"dh0": dh0, "dC0": dC0, "dhn": dhn, "dCn": dCn}
        self.bc = self._backward = BackwardCache(workspace, sequences, ready)
        workspace.readers["bc"] = self._backward
        return dX

    def compute_gradients(self, accumulate: bool = False) -> None:
        """Fill `g` with the twelve parameters' gradients, clipped if the layer clips.

        `accumulate` adds them to those in `g`, of the batches before; it is the sum that is clipped.

        Raises
        ------
        RuntimeError
            There was no backward pass since the last forward pass.
        """
        with self._exclusive("compute_gradients"):
            parameters.lstm_compute_gradients(self, accumulate)

    def _sum_gradients(self, accumulate: bool) -> bool:
        """Fill `g` by one product over all steps; False if there was no backward pass."""
        padded = self._padded
        fc, bc = (self._forward, self._backward) if padded is None else (padded.fc, padded.bc)
        if fc is None or bc is None:
            return False
        limit = check_clip(self.clip_gradients)
        if self.fc is fc and self.bc is bc and not (fc.edited or bc.edited):
            dW = bc._padded.sum_gradients() if isinstance(bc, PaddedCache) else bc._workspace.sum_gradients()
        else:  # someone has put other arrays into fc or bc, and those count
            dW = np.empty_like(self._store.W)
            views = named_views(dW, "d")
            for name, gradient in parameters.sum_by_gate(self.fc, self.bc).items():
                views[name][...] = gradient
        if accumulate and self.g:
            views = named_views(dW, "d")
            for name, gradient in self.g.items():
                views[name] += gradient
        if limit is not None:
            parameters.clip_global_norm([dW], limit)
        self._dW = dW
        self.g = named_views(dW, "d")
        return True

    def update_parameters(self) -> None:
        """Take a step of gradient descent; see :func:`lstm_fast.lstm_update_parameters`."""
        with self._exclusive("update_parameters"):
            parameters.lstm_update_parameters(self)

    # Copies -------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"]
        state["_lean"] = None
        live = [name for name, array in self.g.items() if array.base is self._dW is not None]
        state["g"] = {name: array for name, array in self.g.items() if name not in live}
        state["_live"] = live
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        live = state.pop("_live")
        self.__dict__.update(state)
        self._lock = threading.Lock()
        if self._dW is not None:  # views do not survive as views
            views = named_views(self._dW, "d")
            self.g = {name: views[name] for name in live} | self.g
