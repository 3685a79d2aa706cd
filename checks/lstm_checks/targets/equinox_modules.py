"""Equinox's modules as functions of their weights, by the names of these, and their stacks as targets."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import equinox
import jax
import jax.numpy as jnp

from lstm_checks.cases import LENGTHS
from lstm_checks.contract import PLAIN, Target
from lstm_checks.targets import common
from lstm_checks.targets.common import PROBE, AdapterError
from lstm_checks.targets.jax import VJP, like, name_of
from lstm_checks.targets.jax_networks import by_place, forms_of, stacks_in
from lstm_checks.targets.stacks import StackForm, asked_in_reverse, first_that_fits, list_of_finals, stack_target
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS
from lstm_ref.network import REVERSE, Network

KEPT_AS = ("equinox",)


class Modules:
    """The modules that `make(e, u)` makes; one serves all calls of equal sizes.

    Attributes
    ----------
    first : equinox.Module
        That of the sizes `PROBE`.
    dtype : str
        The dtype of low precision that all its arrays are in, or "float32".
    """

    def __init__(self, make: Callable[[int, int], Any], name: str) -> None:
        self.make = make
        self.first = common.make_module(make, name)
        self.dtype = common.held_in(name, {key: value.dtype for key, value in weights_in(self.first).items()})
        self._made: dict[Any, Any] = {}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of its arrays by name."""
        return {key: value.shape for key, value in weights_in(self.first).items()}

    def at_sizes(self, e: int, u: int) -> dict[str, tuple[int, ...]]:
        """Return them at other sizes."""
        return {key: value.shape for key, value in weights_in(self.make(e, u)).items()}

    def filled(self, given: Mapping[str, Any], X: Any, u: int) -> Any:
        """Return the module of these sizes with other weights."""
        key = X.shape[-1], u
        if key not in self._made:
            self._made[key] = self._only_shapes(key, given)
        if self._made[key] is None:
            # Made outside of any trace, so that what it holds are numbers.
            with jax.ensure_compile_time_eval():
                self._made[key] = self.make(*key)
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: given[name_of(path)] if name_of(path) in given else like(leaf, X), self._made[key]
        )

    def _only_shapes(self, key: tuple[int, int], given: Mapping[str, Any]) -> Any:
        """Return the module with shapes for its arrays where all of these are given; None where some are not.

        To draw values that nobody takes would be compiled for each shape, and take longer than all else.
        """
        with contextlib.suppress(Exception):
            module = equinox.filter_eval_shape(self.make, *key)
            leaves = jax.tree_util.tree_leaves_with_path(module)
            if all(name_of(path) in given for path, leaf in leaves if hasattr(leaf, "dtype")):
                return module
        return None


def weights_in(module: Any) -> dict[str, Any]:
    """Return the arrays of a module by name."""
    leaves = jax.tree_util.tree_leaves_with_path(equinox.filter(module, equinox.is_inexact_array))
    return {name_of(path): leaf for path, leaf in leaves}


def fields_of(module: Any, before: str = "") -> list[tuple[str, Any]]:
    """Return everything that a module and the modules in it hold, static fields too, by name."""
    found: list[tuple[str, Any]] = []
    for name, value in vars(module).items():
        inner = isinstance(value, equinox.Module)
        found += fields_of(value, f"{before}{name}.") if inner else [(before + name, value)]
    return found


def is_module(found: Any) -> bool:
    """Return whether something is an Equinox module with arrays."""
    return isinstance(found, equinox.Module) and not isinstance(found, type)


def seeds_for(found: Any) -> dict[str, Any]:
    """Return the keywords of what is random in a model's making."""
    return common.keywords_of(found, {"key": jax.random.key(0)})


def layers_in(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the cells in a model, and what holds some, by their paths, each as what makes others of its kind."""
    leaves = jax.tree_util.tree_leaves_with_path(model, is_leaf=lambda one: is_module(one) and one is not model)
    for path, inner in leaves:
        own = isinstance(inner, equinox.nn.LSTMCell | equinox.nn.GRUCell)
        if not is_module(inner):
            continue
        if own:
            yield name_of(path), partial(_like, inner)
            continue
        within = [(f"{name_of(path)}.{name}", one) for name, one in layers_in(inner)]
        if within:
            yield name_of(path), type(inner)
            yield from within


def _like(cell: Any, e: int, u: int) -> Any:
    """Return a cell of a kind, of other sizes."""
    return type(cell)(e, u, use_bias=cell.use_bias, key=jax.random.key(0))


def run_cell(cell: Any, x: Any, state: Any, length: Any, reverse: bool) -> tuple[Any, Any]:
    """Return the output of every step and the final state of one of Equinox's cells over one sample, (s, e).

    Steps from `length` on leave the state as it is, so that the reverse direction begins at the last before it.
    """

    def step(state: Any, given: Any) -> Any:
        t, x_t = given
        new = cell(x_t, state)
        state = jax.tree.map(lambda a, b: jnp.where(t < length, a, b), new, state)
        h = state[0] if isinstance(state, tuple) else state
        return state, jnp.where(t < length, h, 0)

    state, h = jax.lax.scan(step, state, (jnp.arange(len(x)), x), reverse=reverse)
    return h, state


def framework_network(net: Network) -> Target:
    """Return the target of Equinox's cells under `jax.lax.scan`, with a network's layers and directions.

    Raises
    ------
    AdapterError
        "Equinox has no cell peephole, expected plain, gru_reset_after".
    """
    own = {PLAIN: equinox.nn.LSTMCell, CELLS["gru_reset_after"]: equinox.nn.GRUCell}
    if net.cell not in own:
        raise AdapterError(f"Equinox has no cell {net.cell.name}, expected {', '.join(cell.name for cell in own)}")

    def make(e: int, u: int) -> Any:
        wide = net.by_letter(1, 1, e, u)["d"]
        cells = [
            [own[net.cell](wide if k else e, u, key=jax.random.key(0)) for _ in net.directions]
            for k in range(net.layers)
        ]
        names = ["backward" if direction == REVERSE else "there" for direction in net.directions]
        return [dict(zip(names, layer, strict=True)) for layer in cells]

    modules = Modules(make, "equinox")
    count = len(net.places[0].states)

    def one_sample(cells: Any, x: Any, states: Any, length: Any) -> Any:
        final: list[Any] = []
        for layer in cells:
            outs = []
            for name, cell in sorted(layer.items(), reverse=True):
                h, end = run_cell(cell, x, states[len(final)], length, name == "backward")
                outs.append(h)
                final.append(end)
            x = jnp.concatenate(outs, -1) if net.join == "concat" else outs[0] + outs[1]
        return x, final

    def run(weights: Mapping[str, Any], X: Any, states: Any, lengths: Any, mask: Any) -> Any:
        cells = modules.filled(weights, X, states[count - 1].shape[-1])
        given = by_place(states, count, False)
        given = [given] if len(net.places) == 1 else [*given]
        lengths = jnp.full(X.shape[:1], X.shape[1]) if lengths is None else lengths
        h, final = jax.vmap(lambda x, state, n: one_sample(cells, x, state, n))(X, given, lengths)
        return h, list_of_finals(final, net)

    stacks = stacks_in(modules.shapes(), "equinox", KEPT_AS, lambda cell: cell)
    (chosen,) = (one for one in stacks if one.net.name == net.name)
    kind = f"stack of Equinox's {own[net.cell].__name__} under jax.lax.scan"
    return stack_target(f"equinox {equinox.__version__}", kind, chosen, [StackForm(run, lengths=LENGTHS)], VJP())


def network_target(found: Any, name: str, cell: Cell) -> Target | None:
    """Return the target of a module of several cells; None for others.

    Raises
    ------
    AdapterError
        Where it is such a module and cannot be judged.
    """
    is_class = isinstance(found, type)
    if isinstance(found, equinox.Module) or not callable(found) or (is_class and not issubclass(found, equinox.Module)):
        return None

    def make(e: int, u: int) -> Any:
        return found(e, u, **common.keywords_of(found, {"key": jax.random.key(0)}))

    module = common.attempt(make, *PROBE[2:])
    if not isinstance(module, equinox.Module):
        return None
    modules = Modules(make, name)
    cells = len([1 for key in modules.shapes() if key.rpartition(".")[2] == "weight_ih"])
    if not (cells > 1 or (cells and isinstance(cell, Network))):
        return None
    common.refuse_low(name, {"its arrays": modules.dtype})
    back = asked_in_reverse(cell)
    stacks = stacks_in(modules.shapes(), name, KEPT_AS, lambda found: found, lambda key: back)
    return _first_that_fits(modules, name, [one for one in stacks if cell in (PLAIN, one.net)] or stacks)


def _first_that_fits(modules: Modules, name: str, stacks: Sequence[Any]) -> Target:
    """Return the target of the first of the networks that a module may be in which it can be called."""

    def call(weights: Mapping[str, Any], X: Any, u: int, keywords: dict[str, Any]) -> Any:
        module = modules.filled(weights, X, u)
        return jax.vmap(lambda x, more: module(x, **more))(X, keywords)

    takes = common.call_in_words(modules.first.__call__, "(X), with the states or the length of one sample")
    kind = f"Equinox module {type(modules.first).__name__}"
    made = partial(stack_target, name, kind, library=VJP(), takes=takes)
    return first_that_fits(
        stacks, lambda stacked: made(stacked, forms_of(call, modules.first.__call__, name, stacked.net))
    )
