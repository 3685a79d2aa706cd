"""Hold all twelve parameters in one matrix, and hand out the named pieces as views.

The layout, stated here once. With K = u + e + 1 rows and four gate blocks of u columns::

                      g    f    i    o
                   +----+----+----+----+
      W (K, 4u) =  | Vg   Vf   Vi   Vo |   V (u, 4u)   rows 0 .. u - 1
                   | Ug   Uf   Ui   Uo |   U (e, 4u)   rows u .. u + e - 1
                   | bg   bf   bi   bo |   b (4u,)     the last row
                   +----+----+----+----+

so that with the column ``c_t = [h_{t-1}; x_t; 1]`` every gate of a step is one product,
``k_t = W^T c_t``, and every gradient of all steps another, ``dW = sum_t c_t dk_t^T``. The gates
stand in the order g, f, i, o because the three sigmoids are then one contiguous block, and because
f, i lie beside each other just as C_{t-1}, g do in a step's block (see :mod:`lstm_fast.workspace`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lstm_fast.validation import as_parameter

__all__ = ["GATES", "PARAMETERS", "NoParameters", "Parameters", "named_views", "split"]

#: The gates in the order of their column blocks.
GATES = ("g", "f", "i", "o")

#: The names of the twelve parameters, in the order in which the project lists them.
PARAMETERS = tuple(kind + gate for gate in "figo" for kind in "UVb")


def split(W: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the views U (e, 4u), V (u, 4u) and b (4u,) of W (u + e + 1, 4u)."""
    u = W.shape[1] // 4
    return W[u:-1], W[:u], W[-1]


def named_views(W: np.ndarray, prefix: str = "") -> dict[str, np.ndarray]:
    """Return the twelve named views of W (K, 4u): U (e, u), V (u, u) and b (1, u) of each gate."""
    u = W.shape[1] // 4
    views = {}
    for name in PARAMETERS:
        j = GATES.index(name[1]) * u
        rows = {"U": slice(u, -1), "V": slice(0, u), "b": slice(-1, None)}[name[0]]
        views[prefix + name] = W[rows, j : j + u]
    return views


class Parameters(dict):
    """A dict of the twelve parameters, each a view into one matrix `W`.

    Reading ``p['Uf']`` gives the view; writing through it, or assigning ``p['Uf'] = array``,
    changes `W`. Assignment copies the values, checks shape and dtype, and never rebinds the view.
    A name appears as a key once it has been assigned. Entries cannot be deleted.

    Parameters
    ----------
    e, u : int
        Elements per step and unit cells.
    dtype : numpy.dtype

    Attributes
    ----------
    W : numpy.ndarray
        (u + e + 1, 4u), laid out as this module's heading draws it.
    """

    def __init__(self, e: int, u: int, dtype: np.dtype) -> None:
        super().__init__()
        self._rebind(np.zeros((u + e + 1, 4 * u), dtype), ())

    def _rebind(self, W: np.ndarray, names: Iterable[str]) -> None:
        """Take W as the store, with the given names assigned already."""
        self.W = W
        self._views = named_views(W)
        dict.clear(self)
        dict.update(self, {name: self._views[name] for name in names})

    @property
    def missing(self) -> list[str]:
        """The names never assigned so far."""
        return [name for name in PARAMETERS if name not in self]

    def mark_assigned(self, kinds: str) -> None:
        """Count every parameter of these kinds (letters of 'UVb') as assigned."""
        dict.update(self, {k: v for k, v in self._views.items() if k[0] in kinds})

    def assign(self, values: Mapping[str, Any]) -> None:
        """Copy several arrays in; either all of them, or (on an error) none.

        Raises
        ------
        KeyError
            A name that is not one of the twelve.
        TypeError, ValueError
            A wrong dtype; a wrong shape.
        """
        checked = {}
        for name, value in values.items():
            if name not in self._views:
                raise KeyError(f"no parameter is called {name!r}; the twelve are {', '.join(PARAMETERS)}")
            view = self._views[name]
            if value is not view:  # `p['Uf'] *= 2` assigns the view to itself
                checked[name] = as_parameter(name, value, view.dtype, view.shape)
        if len(checked) > 1:  # the values may be views of each other's targets
            checked = {name: array.copy() for name, array in checked.items()}
        for name, array in checked.items():
            self._views[name][...] = array
        dict.update(self, {name: self._views[name] for name in values})

    def __setitem__(self, name: str, value: Any) -> None:
        self.assign({name: value})

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Assign every pair, all or none; takes what ``dict.update`` takes."""
        self.assign(dict(*args, **kwargs))

    def __ior__(self, other: Any) -> Parameters:  # type: ignore[misc]
        self.assign(dict(other))
        return self

    def setdefault(self, name: str, default: Any = None) -> np.ndarray:
        """Return the parameter, assigning `default` first if it has no value yet."""
        if name not in self:
            self.assign({name: default})
        return self[name]

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse to delete."""
        raise TypeError("a parameter cannot be deleted from layer.p; assign to it instead")

    __delitem__ = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        # Views do not survive pickling as views: store W and cut it up again.
        u = self.W.shape[1] // 4
        arguments = (self.W.shape[0] - u - 1, u, self.W.dtype)
        return Parameters, arguments, (self.W, tuple(self))

    def __setstate__(self, state: tuple[np.ndarray, tuple[str, ...]]) -> None:
        self._rebind(*state)


class NoParameters(dict):
    """What ``layer.p`` is before the number of elements is known: empty, and refusing values."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse to take a value."""
        raise RuntimeError("the parameters' shapes are not known yet: call compute_shapes(X) first")

    __setitem__ = update = setdefault = __ior__ = _refuse
