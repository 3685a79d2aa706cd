"""What is expected of anybody's LSTM: the names and shapes, and the form in which a target is called.

A target is called in the vector-Jacobian-product form that JAX made standard: forward once, then a pullback
that turns cotangents of the outputs into gradients of the inputs. Whatever form an LSTM comes in, one of the
functions here (or an adapter) turns it into a `Target`, and the rest of the harness knows only that.
"""

import contextlib
import inspect
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

GATES = ("f", "i", "g", "o")
PARAMETERS = tuple(kind + gate for gate in GATES for kind in ("U", "V", "b"))
INPUTS = (*PARAMETERS, "X", "h0", "C0")
GRADIENTS = tuple("d" + name for name in INPUTS)
OUTPUTS = ("h", "Cn")

STATES, CN, DCN, DHN, LAST = "initial states", "Cn", "dCn", "dhn", "last step only"


def input_shapes(m: int, s: int, e: int, u: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of the twelve parameters, X, h0 and C0."""
    shapes: dict[str, tuple[int, ...]] = {}
    for gate in GATES:
        shapes |= {f"U{gate}": (e, u), f"V{gate}": (u, u), f"b{gate}": (1, u)}
    return shapes | {"X": (m, s, e), "h0": (m, u), "C0": (m, u)}


Pullback = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True)
class Extra:
    """A parameter of a target beyond the twelve, such as a peephole's vector.

    Parameters
    ----------
    name : str
        What the target calls it.
    axes : tuple of (int, int, int)
        For each axis (a, b, c): it is a e + b u + c long.
    """

    name: str
    axes: tuple[tuple[int, int, int], ...]

    def shape(self, e: int, u: int) -> tuple[int, ...]:
        """Return its shape at these sizes."""
        return tuple(a * e + b * u + c for a, b, c in self.axes)

    @property
    def formula(self) -> str:
        """The shape in letters: "(3u,)"."""
        words = []
        for a, b, c in self.axes:
            terms = [f"{'' if n == 1 else n}{letter}" for n, letter in ((a, "e"), (b, "u")) if n]
            words.append("+".join(terms + ([str(c)] if c or not terms else [])).replace("+-", "-"))
        return f"({', '.join(words)}{',' if len(words) == 1 else ''})"

    @property
    def units(self) -> tuple[int, ...] | None:
        """The axes that run over the hidden units; None where an axis holds them in an order that nobody told."""
        own = (0, 1, 0)
        if any(axis[1] and axis != own for axis in self.axes):
            return None
        return tuple(k for k, axis in enumerate(self.axes) if axis == own)


def list_extras(extras: Iterable[Extra]) -> str:
    """Return further parameters and their shapes, in words."""
    return " and ".join(f"{extra.name} {extra.formula}" for extra in extras)


@dataclass(frozen=True)
class Target:
    """An LSTM to be judged.

    Parameters
    ----------
    name : str
        What the user called it.
    kind : str
        What it turned out to be, in words.
    call : callable
        ``call(p, X, h0, C0, sequences)`` returns ``(h, Cn), pullback``. With `sequences` the output h is (m, s, u),
        otherwise it may be the last step's (m, u). ``pullback(dh, dCn, dhn)`` returns the gradients by name.
    lacks : frozenset of str
        What it cannot do: any of "initial states", "Cn", "dCn", "dhn", "last step only", and names of gradients.
    dtypes : tuple of str
        The dtypes it computes in.
    twins : mapping
        Further gradients it returns and the one of the contract each must equal: a framework with two biases returns
        two gradients, and both are judged.
    compiles : bool
        Whether every new shape costs it a compilation, so that it should be asked for few of them.
    caches : callable or None
        ``caches()`` returns what the target keeps of its last call: a layer's dicts `fc` and `bc` in one.
    answers : callable or None
        Of a target that runs in another process: begins there what `checks.calling.call_target` would do here for
        each of some calls, and returns a function that waits for their outcomes.
    extras : tuple of Extra
        Parameters beyond the twelve whose gradients can be judged without a reference: `p` then holds values for them,
        and the pullback returns their gradients, "d" before the name. Where `p` has none the target takes its own.
    notes : tuple of str
        What is to be said of how it is judged: parameters that do not learn, and the like.
    beside : str
        What becomes of `extras` where there is a reference, which knows nothing of them.
    foreign : str
        Why lstm_ref is no reference for it, so that it is not judged by that; empty where it is one.
    """

    name: str
    kind: str
    call: Callable[..., tuple[tuple[Any, Any], Pullback]]
    lacks: frozenset[str] = frozenset()
    dtypes: tuple[str, ...] = ("float64", "float32")
    twins: Mapping[str, str] = field(default_factory=dict)
    compiles: bool = False
    caches: Callable[[], Mapping[str, Any] | None] | None = None
    answers: Callable[..., Any] | None = None
    extras: tuple[Extra, ...] = ()
    notes: tuple[str, ...] = ()
    beside: str = ""
    foreign: str = ""

    def remarks(self, reference: bool) -> tuple[str, ...]:
        """Return what is to be said of how it is judged, with a reference or without."""
        further = f"judged, too: {list_extras(self.extras)}" if self.extras else ""
        told = (self.beside, self.foreign) if reference else (further,)
        return (*self.notes, *(text for text in told if text))

    @property
    def unsupported(self) -> tuple[str, ...]:
        """What the target cannot do that a user would want judged, in the order of the contract."""
        names = (STATES, *OUTPUTS, DCN, *GRADIENTS)
        return tuple(name for name in names if name in self.lacks)


_TAKES = {
    4: ("(p, X, h0, C0)", frozenset()),
    3: ("(p, X, h0)", frozenset({STATES, "dC0"})),
    2: ("(p, X)", frozenset({STATES, "dh0", "dC0"})),
}
"""What a function in the vjp form may take, by the number of its arguments, and what it then lacks."""

FORM = "function in the vjp form"


def of_arguments(taken: int) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return what a function of so many arguments lacks, and what is to be said of that."""
    return _TAKES[taken][1], ("it takes h0 and no C0, so both are zero in all examples",) * (taken == 3)


def from_function(function: Callable[..., Any], name: str | None = None) -> Target:
    """Return the target of a function in the vjp form.

    Parameters
    ----------
    function : callable
        ``(h, Cn), pullback = function(p, X, h0, C0)`` and ``gradients = pullback(dh, dCn)``, with `p` the twelve
        parameters by name, h (m, s, u), Cn (m, u), and gradients named dUf ... dbo, dX, dh0, dC0. It may take
        only `(p, X)` or `(p, X, h0)`, return None for Cn or for a gradient, or have a pullback of `dh` alone or one
        that returns an empty dict: what is lacking is reported as unsupported. An attribute ``function.unsupported``,
        names of gradients, says the same. The biases and their gradients may be (u,) in place of (1, u).

    Raises
    ------
    TypeError
        When `function` cannot be called with two, three or four arguments.
    """
    name = name or str(getattr(function, "__name__", repr(function)))
    taken = arguments_of(function)
    if not taken:
        raise TypeError(expected_form(function, name))
    seen = _look_at(function, taken)
    not_taken, notes = of_arguments(taken)
    lacks = {DHN, LAST, *getattr(function, "unsupported", ()), *not_taken, *seen.lacks}
    kind = f"{FORM}, in float32 whatever comes" if seen.single else FORM
    dtypes = ("float32",) if seen.single or seen.refuses_double else ("float64", "float32")
    call = _called(function, taken, seen.flat)
    return Target(name, kind, call, frozenset(lacks), dtypes, seen.twins, notes=notes)


def expected_form(function: Callable[..., Any], name: str) -> str:
    """Return what a function takes and what one in the vjp form may take, in a sentence."""
    *others, last = (words for words, _ in _TAKES.values())
    return f"{name} takes {_signature(function)}, expected {', '.join(others)} or {last}"


def arguments_of(function: Callable[..., Any]) -> int:
    """Return with how many arguments a function in the vjp form is called; 0 if with none of these numbers."""
    return next((count for count in _TAKES if _accepts(function, count)), 0)


def _called(function: Callable[..., Any], taken: int, flat: bool) -> Callable[..., Any]:
    """Return the `call` of a function that takes so many arguments, and biases (u,) where they are `flat`."""

    def call(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, sequences: bool = True) -> Any:
        given = {n: value.reshape(-1) if flat and n[0] == "b" else value for n, value in p.items()}
        (h, Cn), pullback = _unpack(function(given, *(X, h0, C0)[: taken - 1]))

        def pull(dh: Any, dCn: Any, dhn: Any = None) -> Any:
            return _with_rows(pullback(dh, dCn) if _accepts(pullback, 2) else pullback(dh), p["Vf"].shape[-1])

        return (h, Cn), pull

    return call


def _with_rows(gradients: Any, u: int) -> Any:
    """Return gradients whose biases are (1, u), where they came as (u,)."""
    if not isinstance(gradients, Mapping):
        return gradients
    names = [f"db{gate}" for gate in GATES if getattr(gradients.get(f"db{gate}"), "shape", None) == (u,)]
    return {**gradients, **{name: gradients[name].reshape(1, -1) for name in names}} if names else gradients


@dataclass(frozen=True)
class _Seen:
    """What calls of a function show: what it lacks, its second biases' gradients, flat biases, and its dtype."""

    lacks: frozenset[str] = frozenset()
    twins: Mapping[str, str] = field(default_factory=dict)
    flat: bool = False
    single: bool = False
    refuses_double: bool = False


# The smallest problem with a recurrence; and one of sizes that all differ, none of them 1, since there are functions
# that break where a size is 1, or where two are equal.
_SIZES = ((1, 2, 1, 1), (2, 3, 4, 5))


def _small_inputs(sizes: tuple[int, int, int, int] = _SIZES[0], dtype: str = "float64") -> tuple[Any, Any, Any, Any]:
    """Return p, X, h0 and C0 of a small problem, to see what a target can do."""
    arrays = {name: np.full(shape, 0.25, dtype) for name, shape in input_shapes(*sizes).items()}
    return {name: arrays[name] for name in PARAMETERS}, arrays["X"], arrays["h0"], arrays["C0"]


def _look_at(function: Callable[..., Any], taken: int) -> _Seen:
    """Return what the first call that raises nothing shows; what goes wrong in all is for the examples to find.

    Biases (u,) are tried where (1, u) does not work, and float32 where float64 raises as it would for a dtype that is
    not the function's own.
    """
    for dtype in ("float64", "float32"):
        as_of_dtype = True
        for flat in (False, True):
            for sizes in _SIZES:
                try:
                    seen = _see(function, taken, flat, sizes, dtype)
                except (TypeError, ValueError):
                    continue
                except BaseException as error:
                    not_interrupted(error)
                    as_of_dtype = False
                    continue
                return replace(seen, refuses_double=dtype == "float32")
        if not as_of_dtype:
            break
    return _Seen()


def _see(function: Callable[..., Any], taken: int, flat: bool, sizes: tuple[int, int, int, int], dtype: str) -> _Seen:
    """Return what one small call shows."""
    (m, s, _, u), (p, *others) = sizes, _small_inputs(sizes, dtype)
    apart = {"dh": np.ones((m, s, u), dtype), "dCn": np.ones((m, u), dtype)}
    given = {n: value.reshape(-1) if flat and n[0] == "b" else value for n, value in p.items()}
    with undisturbed():
        (h, Cn), pullback = _unpack(function(given, *others[: taken - 1]))
        both = _accepts(pullback, 2)
        gradients = pullback(*apart.values()) if both else pullback(apart["dh"])
    lacks = {CN, DCN} if Cn is None else set()
    lacks |= set() if both else {DCN}
    # Nothing at all comes of a function that goes forward only.
    lacks |= {name for name in GRADIENTS if not len(gradients) or (name in gradients and gradients[name] is None)}
    twins = {n: n[:3] for n in map(str, gradients) if n[:3] in GRADIENTS and n[1:2] == "b" and n[3:7] == " of "}
    # One tensor alone in float32 is an error of a function that computes in float64.
    came = [getattr(value, "dtype", np.float32) for value in (h, Cn, *(gradients.get(name) for name in GRADIENTS))]
    single = dtype == "float64" and hasattr(h, "dtype") and all(kind == np.float32 for kind in came)
    return _Seen(frozenset(lacks), twins, flat, single)


class ContractError(Exception):
    """A target returned something of another form than the contract's; the message is for its author."""

    kind = "error"


class TimeLimitError(ContractError):
    """A target gave no answer in time."""

    kind = "timeout"


class EndedError(ContractError):
    """A target ended the process that it ran in."""

    kind = "ended"


class RaisedElsewhereError(Exception):
    """A target raised in another process; the message is the exception in words."""


def not_interrupted(error: BaseException) -> None:
    """Raise what is no doing of the target's: the user's own Ctrl-C, where this process listens to it."""
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        raise error


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let a target run: its warnings are its own affair, and what it prints goes to standard error.

    What it sets for the whole interpreter is set back: NumPy's errors, and a recursion limit that is not for us.
    """
    limit = sys.getrecursionlimit()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        if sys.getrecursionlimit() != limit:
            sys.setrecursionlimit(limit)


def _unpack(result: Any) -> Any:
    """Return `(h, Cn), pullback`, or say in what the result differs from that."""
    form = "expected ((h, Cn), pullback)"
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise ContractError(f"the call returned {_describe(result)}, {form}")
    outputs, pullback = result
    if not isinstance(outputs, tuple | list) or len(outputs) != 2:
        raise ContractError(f"the call returned {_describe(outputs)} as outputs, {form}")
    if not callable(pullback):
        raise ContractError(f"the call returned {_describe(pullback)} as pullback, expected a function of (dh, dCn)")
    return result


def _describe(value: Any) -> str:
    """Return None, or the type of a value and, for a sequence or an array, its size."""
    if value is None:
        return "None"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return with_article(type(value).__name__)


def with_article(name: str) -> str:
    """Return a name after "a" or "an"."""
    return f"{'an' if name[:1] in 'aeiouAEIO' else 'a'} {name}"


def _accepts(function: Callable[..., Any], count: int) -> bool:
    """Return whether `function` can be called with `count` positional arguments (True where nobody can tell)."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _signature(function: Callable[..., Any]) -> str:
    """Return the signature as text."""
    try:
        return str(inspect.signature(function))
    except ValueError:
        return "(...)"


def returns_pullback(function: Callable[..., Any]) -> bool:
    """Return whether a function is seen to be in the vjp form, by a small call."""
    taken = arguments_of(function)
    for dtype in ("float64", "float32"):
        for flat in (False, True):
            for sizes in _SIZES:
                try:
                    with undisturbed():
                        _called(function, taken, flat)(*_small_inputs(sizes, dtype))
                except BaseException as error:
                    not_interrupted(error)
                    continue
                return True
    return False


def _probe_layer(call: Callable[..., Any]) -> set[str]:
    """Return which states a layer keeps nowhere, by a small call; what goes wrong in all the examples will find."""
    for m, s, e, u in _SIZES:
        try:
            with undisturbed():
                (_, Cn), pullback = call(*_small_inputs((m, s, e, u)))
                found = pullback(np.ones((m, s, u)), np.ones((m, u)), np.ones((m, u)))
        except BaseException as error:
            not_interrupted(error)
            continue
        return ({CN} if Cn is None else set()) | {name for name in ("dh0", "dC0") if name not in found}
    return set()


def from_layer(layer_class: type[Any], name: str | None = None) -> Target:
    """Return the target of a layer class in EpyNN's form.

    One instance serves all calls of equal u, dtype and `sequences`, so that state left over between calls is
    caught. Parameters are written through the arrays in `layer.p` where these have the right shape, so that
    a layer whose `p` are views into bigger arrays is judged as it is used.

    Parameters
    ----------
    layer_class : class
        ``layer_class(unit_cells=u, sequences=True)`` returns a layer with `compute_shapes(X)`,
        `initialize_parameters()`, `forward(X[, h0, C0])`, `backward(dA[, dhn, dCn])`, `compute_gradients()`
        and the dicts `p`, `fc` and `g`. `forward` without h0 and C0, `backward` without dCn, or no
        `bc['dh0']`, `bc['dC0']`: these are unsupported.
    """
    name = name or str(getattr(layer_class, "__name__", repr(layer_class)))
    constructor, forward, backward = (_parameters(layer_class, m) for m in ("__init__", "forward", "backward"))
    lacks = set()
    if not {"h0", "C0"} <= forward:
        lacks |= {STATES, "dh0", "dC0"}
    lacks |= {key for key in (DHN, DCN) if key not in backward}
    if "sequences" not in constructor:
        lacks.add(LAST)
    optional = {way: _optional(layer_class, way) for way in ("forward", "backward")}
    layers: dict[tuple[int, str, bool], Any] = {}
    last: list[Any] = []

    def call(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, sequences: bool = True) -> Any:
        u, dtype = p["Vf"].shape[-1], X.dtype
        key = (u, str(dtype), sequences)
        if key not in layers:
            positional, options = _constructor_arguments(constructor, u, sequences, dtype)
            layers[key] = layer_class(*positional, **options)
            _lend_epynn_needs(layers[key])
        layer = layers[key]
        last[:] = [layer]
        layer.compute_shapes(X)
        _write_parameters(layer, p)
        # What is zero is left out where that may be, as users do: what a layer takes in its place is judged, too.
        given = {} if STATES in lacks else {"h0": h0, "C0": C0}
        A = layer.forward(X, **_needed(given, optional["forward"]))
        fc = getattr(layer, "fc", {})
        Cn = np.array(fc["C_"][:, -1]) if "C_" in fc else None

        def pullback(dh: Any, dCn: Any, dhn: Any = None) -> dict[str, Any]:
            states = {key: value for key, value in (("dhn", dhn), ("dCn", dCn)) if key not in lacks}
            gradients = {"dX": layer.backward(dh, **_needed(states, optional["backward"]))}
            layer.compute_gradients()
            gradients |= {key: np.array(value) for key, value in _dict_of(layer, "g", "compute_gradients").items()}
            if STATES not in lacks:
                bc = getattr(layer, "bc", {})
                if not {"dh0", "dC0"} - lacks <= set(bc) and not _needed(given, optional["forward"]):
                    # It may keep no gradient of states that it was not given.
                    layer.forward(X, **given)
                    layer.backward(dh, **states)
                    bc = layer.bc
                gradients |= {key: np.array(bc[key]) for key in ("dh0", "dC0") if key in bc}
            return gradients

        return (A, Cn), pullback

    def caches() -> dict[str, Any]:
        return {k: v for layer in last for kept in ("fc", "bc") for k, v in (getattr(layer, kept, None) or {}).items()}

    lacks |= _probe_layer(call)
    return Target(name, "layer class", call, frozenset(lacks), caches=caches)


def _constructor_arguments(
    constructor: set[str], u: int, sequences: bool, dtype: Any
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments with which a layer is made."""
    options = {"sequences": sequences, "dtype": dtype, "rng": 0, "unit_cells": u}
    positional = () if "unit_cells" in constructor else (u,)
    return positional, {name: value for name, value in options.items() if name in constructor}


def not_constructible(layer_class: type[Any]) -> str:
    """Return why a layer class cannot be called as `from_layer` will; empty if it can, or if nobody can tell."""
    positional, options = _constructor_arguments(_parameters(layer_class, "__init__"), 1, True, np.dtype("float64"))
    try:
        inspect.signature(layer_class).bind(*positional, **options)
    except TypeError as error:
        return f"{layer_class.__name__}{_signature(layer_class)}, {error}"
    except ValueError:
        pass
    return ""


def _needed(given: dict[str, Any], optional: set[str]) -> dict[str, Any]:
    """Return the arguments, none if all are optional and zero."""
    if set(given) <= optional and not any(np.any(value) for value in given.values()):
        return {}
    return given


def _optional(layer_class: Any, method: str) -> set[str]:
    """Return the parameters of a method whose default is None."""
    try:
        parameters = inspect.signature(getattr(layer_class, method)).parameters
    except (AttributeError, TypeError, ValueError):
        return set()
    return {name for name, parameter in parameters.items() if parameter.default is None}


def _parameters(layer_class: Any, method: str) -> set[str]:
    """Return the names of the parameters that a method takes, those it hands on to its base classes included."""
    names: set[str] = set()
    for base in layer_class.__mro__:
        if method not in vars(base):
            continue
        try:
            parameters = inspect.signature(vars(base)[method]).parameters
        except (TypeError, ValueError):
            break
        names |= set(parameters)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return names


def _lend_epynn_needs(layer: Any) -> None:
    """Give a layer in EpyNN's form what its network would give it: hyperparameters and a random generator."""
    if not hasattr(layer, "rng"):
        layer.np_rng = np.random.default_rng(0)
    if getattr(layer, "se_hPars", None) is None:
        layer.se_hPars = {}


def _write_parameters(layer: Any, p: Mapping[str, Any]) -> None:
    """Write the parameters into the layer's own arrays; `initialize_parameters` makes those that are not there."""
    own: Any = getattr(layer, "p", None) or {}
    if not all(np.shape(own.get(name)) == value.shape for name, value in p.items()):
        layer.initialize_parameters()
        own = _dict_of(layer, "p", "initialize_parameters")
    for name, value in p.items():
        there = own.get(name)
        if isinstance(there, np.ndarray) and there.shape == value.shape and there.dtype == value.dtype:
            there[...] = value
        else:
            own[name] = value.copy()


def _dict_of(layer: Any, name: str, after: str) -> Any:
    """Return one of a layer's dicts, or say that it has none."""
    found = getattr(layer, name, None)
    if not isinstance(found, Mapping):
        held = {"p": "the parameters Uf Vf bf ... bo", "g": "their gradients dUf dVf dbf ... dbo"}[name]
        raise ContractError(f"layer.{name} is {_describe(found)} after {after}(), expected a dict of {held}")
    return found
