"""Haiku as a target: its own `haiku.LSTM`, `haiku.GRU` and `haiku.VanillaRNN`, and anybody's core.

A core is made and unrolled inside of `haiku.transform`, as `haiku.dynamic_unroll` does it; what that makes of it is a
pure function of the parameters by module and name, and they are ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import haiku
import jax

from lstm_checks.contract import PLAIN, Target
from lstm_checks.targets import common
from lstm_checks.targets.common import PROBE, AdapterError, Form
from lstm_checks.targets.jax import VJP
from lstm_checks.targets.jax_networks import by_place, stacks_in
from lstm_checks.targets.one_state import OneStateForm, kept_in, one_state_target
from lstm_checks.targets.stacks import StackForm, list_of_finals, stack_target
from lstm_checks.weights.recurrent import CARRIED
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS, cell_named
from lstm_ref.network import REVERSE, Network

RELU = cell_named("rnn,g=relu")

OWN = {PLAIN: haiku.LSTM, CELLS["gru"]: haiku.GRU, RELU: haiku.VanillaRNN}
"""Its cores by their cells."""

OF_ONE_STATE = {layout.cell.name: (layout,) for layout in CARRIED if layout.name == "haiku"}


def framework_target(cell: Cell = PLAIN) -> Target:
    """Return the target of the core of Haiku's own that is of a cell.

    Raises
    ------
    AdapterError
        "Haiku has no cell peephole, expected plain, gru, rnn,g=relu".
    """
    core = _own(cell)
    return _from_core(lambda e, u: core(u), f"haiku {haiku.__version__}", f"haiku.{core.__name__}")


def _own(cell: Cell) -> Any:
    """Return the core of Haiku's own that is of a cell."""
    if cell not in OWN:
        raise AdapterError(f"Haiku has no cell {cell.name}, expected {', '.join(own.name for own in OWN)}")
    return OWN[cell]


def recognize(found: Any, name: str, cell: Cell = PLAIN) -> Target | None:
    """Return the target of a core's class, or of a function that makes cores; None for anything else.

    Raises
    ------
    AdapterError
        When it is a core that cannot be judged.
    """
    is_class = isinstance(found, type)
    if (is_class and not issubclass(found, haiku.RNNCore)) or not callable(found):
        return None

    def make(e: int, u: int) -> Any:
        core = common.attempt(found, u)  # as Haiku's own are made, whose weights learn the input's size from it
        return core if isinstance(core, haiku.RNNCore) else found(e, u)

    made: list[Any] = []
    try:
        haiku.transform(lambda: made.append(make(*PROBE[2:]))).init(jax.random.key(0))
    except (Exception, SystemExit) as error:
        if not is_class:
            return None
        raise AdapterError(
            f"{name} cannot be made with {PROBE[3]} units: {type(error).__name__}: {error}; name a function "
            "(hidden_size) that makes one"
        ) from error
    if not isinstance(made[0], haiku.RNNCore):
        return None
    return _from_core(make, name, f"Haiku core {type(made[0]).__name__}")


def _from_core(make: Callable[[int, int], Any], name: str, kind: str) -> Target:
    """Return the target of the cores that `make(e, u)` makes, unrolled."""
    seen: list[Any] = []

    def unroll(X: Any, states: Any, turned: bool) -> Any:
        core = make(X.shape[-1], states[-1].shape[-1])
        seen[:] = [core]
        tree = jax.tree.structure(core.initial_state(X.shape[0]))
        h, end = haiku.dynamic_unroll(core, X, jax.tree.unflatten(tree, states[:: -1 if turned else 1]), False)
        return h, jax.tree.leaves(end)[:: -1 if turned else 1]

    one: Any = haiku.without_apply_rng(haiku.transform(unroll))
    m, s, e, u = PROBE

    def init(count: int) -> Any:
        return one.init(jax.random.key(0), jax.numpy.ones((m, s, e)), [jax.numpy.ones((m, u))] * count, False)

    of_two = common.attempt(init, 2)
    parameters = of_two or common.attempt(init, 1)
    if parameters is None:
        raise AdapterError(f"{name} is a {kind} that cannot be unrolled over (m, s, e) with one state (m, u) or two")
    arrays = _named(parameters)
    common.refuse_low(name, {key: value.dtype for key, value in arrays.items()})
    shapes = {key: tuple(value.shape) for key, value in arrays.items()}
    kept = kept_in(shapes, name, OF_ONE_STATE)
    if kept is not None:
        kept = replace(kept, cell=RELU) if isinstance(seen[0], haiku.VanillaRNN) else kept

        def whole(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
            return one.apply(_nested(given), X, [h0], False)

        return one_state_target(name, kind, kept, [OneStateForm(whole)], VJP(), _TAKES)
    if of_two is None:
        listed = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        raise AdapterError(
            f"{name} is a {kind} with one state, and its weights have not the names of haiku.GRU's (w_i, w_h, b) or "
            f"haiku.VanillaRNN's (linear, linear_1): it has {listed}; a function (p, X, h0) with --cell gru, "
            "gru_reset_after or rnn is judged"
        )

    h, ends = one.apply(parameters, jax.numpy.ones((m, s, e)), [jax.numpy.ones((m, u))] * 2, False)
    # The hidden state is the one that comes out.
    turned = bool((ends[1] == h[:, -1]).all())

    def both(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        h, (_, Cn) = one.apply(_nested(given), X, [h0, C0], turned)
        return h, Cn

    weights = common.weights_of(shapes, name)
    return common.target_of(name, kind, weights, [Form(both)], VJP(), takes=_TAKES)


_TAKES = "it is unrolled by haiku.dynamic_unroll over (x, state), expected a state (m, u), or two of these"


def framework_network(net: Network) -> Target:
    """Return the target of Haiku's cores, unrolled there and back, with a network's layers and directions.

    Raises
    ------
    AdapterError
        "Haiku has no cell peephole, expected plain, gru, rnn,g=relu".
    """
    core, count = _own(net.cell), len(net.places[0].states)

    def unroll(X: Any, states: Any) -> Any:
        given = by_place(states, count, False)
        given = [given] if len(net.places) == 1 else [*given]
        final: list[Any] = []
        for layer in range(net.layers):
            outs = []
            for direction in net.directions:
                back = direction == REVERSE
                cell = core(states[count - 1].shape[-1], name=f"{'backward' if back else 'there'}_{layer}")
                state = given[len(final)]
                state = haiku.LSTMState(*state) if count > 1 else state
                h, end = haiku.dynamic_unroll(cell, X, state, time_major=False, reverse=back)
                outs.append(h)
                final.append(end)
            X = outs[0] if len(outs) == 1 else sum(outs) if net.join == "sum" else jax.numpy.concatenate(outs, -1)
        return X, final

    both: Any = haiku.without_apply_rng(haiku.transform(unroll))
    m, s, e, u = PROBE
    ones = jax.numpy.ones
    arrays = _named(both.init(jax.random.key(0), ones((m, s, e)), [ones((m, u))] * len(net.initial)))
    shapes = {key: tuple(value.shape) for key, value in arrays.items()}
    layouts = [layout for found in OF_ONE_STATE.values() for layout in found]
    stacks = stacks_in(shapes, "haiku", ("haiku",), lambda cell: net.cell, layouts=layouts)

    def run(weights: Mapping[str, Any], X: Any, states: Any, lengths: Any, mask: Any) -> Any:
        h, final = both.apply(_nested(weights), X, states)
        return h, list_of_finals(final, net)

    (chosen,) = (one for one in stacks if one.net.name == net.name)
    kind = f"stack of haiku.{core.__name__} under haiku.dynamic_unroll"
    return stack_target(f"haiku {haiku.__version__}", kind, chosen, [StackForm(run)], VJP())


def network_target(found: Any, name: str, cell: Cell) -> Target | None:
    """Return None: of Haiku's own networks alone targets are made, and of functions by name."""
    return None


def _named(parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return parameters by module and name in one: "lstm/linear.w"."""
    return {f"{module}.{key}": value for module, own in parameters.items() for key, value in own.items()}


def _nested(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return parameters as Haiku takes them, from those by module and name in one."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        module, _, key = name.rpartition(".")
        found.setdefault(module, {})[key] = value
    return found
