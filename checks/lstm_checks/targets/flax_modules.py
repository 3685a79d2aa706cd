"""Flax's nnx modules as functions of their weights, by the names of these, and their stacks as targets."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import flax
import jax
from flax import nnx

from lstm_checks.cases import LENGTHS
from lstm_checks.contract import PLAIN, Target
from lstm_checks.targets import common
from lstm_checks.targets.common import PROBE, AdapterError
from lstm_checks.targets.jax import VJP, like, name_of
from lstm_checks.targets.jax_networks import WITHOUT_EMPTY, by_place, forms_of, stacks_in
from lstm_checks.targets.stacks import StackForm, first_that_fits, list_of_finals, stack_target
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS
from lstm_ref.network import REVERSE, Network

KEPT_AS = ("flax", "flax-cell")

NO_EMPTY = "not asked of samples of no steps: of their final states Flax's RNN has no word"


class Modules:
    """The modules that `make(e, u)` makes; one serves all calls of equal sizes.

    Attributes
    ----------
    first : nnx.Module
        That of the sizes `PROBE`.
    held : mapping
        Its arrays of floating point that are no `nnx.Param`, by name.
    dtype : str
        The dtype of low precision that all its arrays are in, or "float32".
    """

    def __init__(self, make: Callable[[int, int], Any], name: str) -> None:
        self.make = make
        self.first = common.make_module(make, name)
        parts: Any = nnx.split(self.first, nnx.Param, ...)
        learning, others = parts[1:]
        self._own, self._rest = _named(learning), others
        self._only_random = not _named(nnx.state(self.first, nnx.Not(nnx.Any(nnx.Param, nnx.RngState))))
        inexact = jax.numpy.inexact
        self.held = {key: leaf for key, leaf in _named(others).items() if jax.numpy.issubdtype(leaf.dtype, inexact)}
        self.dtype = common.held_in(name, {key: leaf.dtype for key, leaf in (self._own | self.held).items()})
        self._split: dict[Any, Any] = {}
        self._shapes: dict[Any, Any] = {}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of its parameters by name."""
        return {key: leaf.shape for key, leaf in self._own.items()}

    def at_sizes(self, e: int, u: int) -> dict[str, tuple[int, ...]]:
        """Return them at other sizes."""
        return {key: leaf.shape for key, leaf in _named(nnx.split(self.make(e, u), nnx.Param, ...)[1]).items()}

    def filled(self, given: Mapping[str, Any], X: Any, u: int) -> Any:
        """Return the module of these sizes with other weights."""
        key = X.shape[-1], u
        parts = self._only_shapes(key) if self._own.keys() <= given.keys() else None
        graph, parameters, rest = parts or self._made(key)

        def state(own: Any) -> Any:
            put = jax.tree_util.tree_map_with_path(
                lambda path, leaf: given[name_of(path)] if name_of(path) in given else like(leaf, X), _pure(own)
            )
            new = jax.tree.map(lambda leaf: leaf, own)
            nnx.replace_by_pure_dict(new, put)
            return new

        return nnx.merge(graph, state(parameters), state(rest))

    def _made(self, key: tuple[int, int]) -> Any:
        """Return the parts of a module of these sizes."""
        if key not in self._split:
            # Made outside of any trace, so that what it holds are numbers.
            with jax.ensure_compile_time_eval():
                self._split[key] = nnx.split(self.make(*key), nnx.Param, ...)
        return self._split[key]

    def _only_shapes(self, key: tuple[int, int]) -> Any:
        """Return these parts with shapes for its parameters, where all of these are given; None where that cannot be.

        To draw values that nobody takes would be compiled for each shape, and take longer than all else. Its keys of
        random numbers, which no size has to do with, are those of the first module.
        """
        if key not in self._shapes:
            self._shapes[key] = None
            with contextlib.suppress(Exception):
                parts: Any = nnx.split(nnx.eval_shape(lambda: self.make(*key)), nnx.Param, ...)
                graph, parameters, rest = parts
                if _named(parameters).keys() == self._own.keys() and self._only_random:
                    nnx.replace_by_pure_dict(rest, _pure(self._rest))
                    self._shapes[key] = graph, parameters, rest
        return self._shapes[key]


def _pure(state: Any) -> Any:
    """Return the arrays of a state, nested as it is."""
    return nnx.to_pure_dict(state)


def _named(state: Any) -> dict[str, Any]:
    """Return the arrays of a state by name."""
    leaves = jax.tree_util.tree_leaves_with_path(_pure(state))
    return {name_of(path): leaf for path, leaf in leaves if hasattr(leaf, "dtype")}


def cell_of(module: Any, name: str) -> Cell:
    """Return the LSTM cell by the activations of Flax's own in a module; plain where there is none.

    Raises
    ------
    AdapterError
        Where a GRU or a SimpleCell is of other equations by its options.
    """
    cells: set[Cell] = set()
    for _, inner in nnx.iter_graph(module):
        if isinstance(inner, nnx.LSTMCell | nnx.OptimizedLSTMCell):
            activation = ("activation_fn", inner.activation_fn)
            cells.add(common.cell_with(name, f=("gate_fn", inner.gate_fn), g=activation, h=activation))
        elif isinstance(inner, nnx.GRUCell | nnx.SimpleCell):
            common.refuse_activation(name, "activation_fn", inner.activation_fn, "tanh")
            if isinstance(inner, nnx.GRUCell):
                common.refuse_activation(name, "gate_fn", inner.gate_fn, "sigmoid")
            elif inner.residual:
                raise AdapterError(f"{name} has a SimpleCell with residual=True, which is no plain RNN: not judged")
        elif isinstance(inner, nnx.Dropout) and inner.rate and not inner.deterministic:
            raise AdapterError(f"{name} has dropout {inner.rate:g}, which is random and not judged: call eval()")
    return common.the_one_of(cells, name)


def is_module(found: Any) -> bool:
    """Return whether something is an nnx module."""
    return isinstance(found, nnx.Module)


def seeds_for(found: Any) -> dict[str, Any]:
    """Return the keywords of what is random in a model's making."""
    return common.keywords_of(found, {"rngs": nnx.Rngs(0)})


def layers_in(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the recurrent layers in a model by their paths, each as something that makes others of its kind."""
    for path, inner in nnx.iter_graph(model):
        if isinstance(inner, nnx.RNN | nnx.Bidirectional | nnx.RNNCellBase):
            yield ".".join(map(str, path)), partial(_like, inner)


def _like(inner: Any, e: int, u: int) -> Any:
    """Return a module of a kind, of other sizes."""
    if isinstance(inner, nnx.Bidirectional):
        parts = (_like(inner.forward_rnn, e, u), _like(inner.backward_rnn, e, u))
        return type(inner)(*parts, merge_fn=inner.merge_fn, time_major=inner.time_major)
    if isinstance(inner, nnx.RNN):
        options = {key: getattr(inner, key) for key in ("time_major", "reverse", "keep_order")}
        return type(inner)(_like(inner.cell, e, u), **options)
    kept = ("gate_fn", "activation_fn", "residual")
    options = {key: getattr(inner, key) for key in kept if hasattr(inner, key)}
    return type(inner)(e, u, **common.keywords_of(type(inner), options | {"rngs": nnx.Rngs(0)}))


class Chain(nnx.Module):
    """Layers over one another, as a network has them: Flax's RNN or Bidirectional, their states layer by layer."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = nnx.List(layers)

    def __call__(self, x: Any, carries: Any, lengths: Any) -> Any:
        """Return the last layer's output, and the final states of all."""
        final = []
        for layer, carry in zip(self.layers, carries, strict=True):
            end, x = layer(x, initial_carry=carry, seq_lengths=lengths, return_carry=True)
            final.append(end)
        return x, final


def framework_network(net: Network) -> Target:
    """Return the target of Flax's RNN and Bidirectional over its cells, with a network's layers and directions.

    Raises
    ------
    AdapterError
        "Flax has no cell peephole, expected plain, gru_reset_after, rnn".
    """
    own = {PLAIN: nnx.OptimizedLSTMCell, CELLS["gru_reset_after"]: nnx.GRUCell, CELLS["rnn"]: nnx.SimpleCell}
    if net.cell not in own:
        raise AdapterError(f"Flax has no cell {net.cell.name}, expected {', '.join(cell.name for cell in own)}")

    def rnn(e: int, u: int, reverse: bool) -> Any:
        return nnx.RNN(own[net.cell](e, u, rngs=nnx.Rngs(0)), reverse=reverse, keep_order=True)

    def make(e: int, u: int) -> Any:
        layers = []
        for k in range(net.layers):
            wide = net.by_letter(1, 1, e, u)["d"] if k else e
            one = rnn(wide, u, net.directions[0] == REVERSE)
            merge: dict[str, Any] = {"merge_fn": lambda a, b: a + b} if net.join == "sum" else {}
            both = len(net.directions) > 1
            layers.append(nnx.Bidirectional(one, rnn(wide, u, True), **merge) if both else one)
        return Chain(layers)

    modules = Modules(make, "flax")
    stacks = stacks_in(modules.shapes(), "flax", KEPT_AS, lambda cell: cell, _goes_back(modules.first))
    count, width = len(net.places[0].states), len(net.directions)

    def run(weights: Mapping[str, Any], X: Any, states: Any, lengths: Any, mask: Any) -> Any:
        layer = count * width
        carries = [by_place(states[k : k + layer], count, True) for k in range(0, len(states), layer)]
        h, final = modules.filled(weights, X, states[count - 1].shape[-1])(X, carries, lengths)
        return h, list_of_finals(final, net, turned=True)

    form = StackForm(run, lengths=WITHOUT_EMPTY, notes=(NO_EMPTY,))
    kind = f"stack of Flax's {own[net.cell].__name__} under nnx.RNN"
    (chosen,) = (one for one in stacks if one.net.name == net.name)
    return stack_target(f"flax {flax.__version__}", kind, chosen, [form], VJP())


def network_target(found: Any, name: str, cell: Cell) -> Target | None:
    """Return the target of an nnx module of several cells, or of Flax's RNN or Bidirectional; None for others.

    Raises
    ------
    AdapterError
        Where it is such a module and cannot be judged.
    """
    is_class = isinstance(found, type)
    if isinstance(found, nnx.Module) or not callable(found) or (is_class and not issubclass(found, nnx.Module)):
        return None

    def make(e: int, u: int) -> Any:
        return found(e, u, **common.keywords_of(found, {"rngs": nnx.Rngs(0)}))

    module = common.attempt(make, *PROBE[2:])
    if not isinstance(module, nnx.Module):
        return None
    own = isinstance(module, nnx.RNN | nnx.Bidirectional)
    modules = Modules(make, name)
    cells = len([1 for key in modules.shapes() if re.search(r"(?:^|\.)(?:dense_i|ii)\.kernel$", key)])
    if not (own or cells > 1 or (cells and isinstance(cell, Network))):
        return None
    common.refuse_low(name, {"its parameters": modules.dtype})
    lstm = cell_of(module, name)
    back = _goes_back(module)
    stacks = stacks_in(modules.shapes(), name, KEPT_AS, lambda cell: lstm if cell is PLAIN else cell, back)
    if modules.held:
        raise AdapterError(f"{name}: {next(iter(modules.held))} is no nnx.Param, expected parameters alone in a stack")
    return _first_that_fits(modules, name, [s for s in stacks if cell in (PLAIN, s.net)] or stacks)


def _goes_back(module: Any) -> Callable[[str], bool]:
    """Return whether what has a name runs in reverse: in an RNN with reverse=True, or in a Bidirectional's second."""
    paths = [(".".join(map(str, path)), one) for path, one in nnx.iter_graph(module)]
    back = [path for path, one in paths if isinstance(one, nnx.RNN) and one.reverse]
    back += [f"{path}.backward_rnn".lstrip(".") for path, one in paths if isinstance(one, nnx.Bidirectional)]
    return lambda name: any(not path or name.startswith(f"{path}.") for path in back)


def _first_that_fits(modules: Modules, name: str, stacks: Sequence[Any]) -> Target:
    """Return the target of the first of the networks that a module may be in which it can be called."""
    first = modules.first
    own = isinstance(first, nnx.RNN | nnx.Bidirectional)
    inner = [one for _, one in nnx.iter_graph(first)]
    lengths = WITHOUT_EMPTY if any(isinstance(one, nnx.RNN) for one in inner) else LENGTHS
    takes = common.call_in_words(first.__call__, "(X), with the states or the lengths of samples")
    made = partial(stack_target, name, f"Flax nnx module {type(first).__name__}", library=VJP(), takes=takes)

    def forms(net: Network) -> list[StackForm]:
        return [_own_form(modules, net)] if own else forms_of(_called(modules), first.__call__, name, net, lengths)

    return first_that_fits(stacks, lambda stacked: made(stacked, forms(stacked.net)))


def _called(modules: Modules) -> Callable[..., Any]:
    """Return the call of a module with other weights."""
    return lambda weights, X, u, keywords: modules.filled(weights, X, u)(X, **keywords)


def _own_form(modules: Modules, net: Network) -> StackForm:
    """Return the form of Flax's own RNN or Bidirectional."""
    count = len(net.places[0].states)

    def run(weights: Mapping[str, Any], X: Any, states: Any, lengths: Any, mask: Any) -> Any:
        module = modules.filled(weights, X, states[count - 1].shape[-1])
        order = {"keep_order": True} if isinstance(module, nnx.RNN) else {}
        carry = by_place(states, count, True)
        final, h = module(X, initial_carry=carry, seq_lengths=lengths, return_carry=True, **order)
        return h, list_of_finals(final, net, turned=True)

    return StackForm(run, lengths=WITHOUT_EMPTY, notes=(NO_EMPTY,))
