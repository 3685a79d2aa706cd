"""JAX as a target: functions of its arrays, differentiated by `jax.vjp`, whatever rule of its own is in them.

XLA compiles anew for each shape, which takes a second where running takes a millisecond. So the compiler is told to
spend little on it, each pass is compiled once a shape, and `Target.compiles` asks the harness for few shapes.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import jax
import numpy as np

from lstm_checks.contract import EMPTY, PLAIN, SAMPLES, SEVERAL, STILL, Target
from lstm_checks.formats import is_floating
from lstm_checks.targets import common
from lstm_checks.targets.common import Run
from lstm_checks.targets.stacks import function_network
from lstm_checks.targets.ways import Asked, Part, Way
from lstm_ref.cell import Cell
from lstm_ref.network import Network

# Compiling a small LSTM and its gradient took 2.4 s without these, 0.7 s with them.
COMPILER_OPTIONS = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def with_x64(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function run with 64-bit numbers allowed; JAX's own setting is left as it is."""

    def run(*arguments: Any) -> Any:
        with jax.enable_x64(True):
            return function(*arguments)

    return run


def unrolled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function compiled as a whole: loops step by step, and with them what is compiled within."""

    def inner(*arguments: Any) -> Any:
        with jax.disable_jit():
            return function(*arguments)

    compiled = jax.jit(inner, compiler_options=COMPILER_OPTIONS)

    def call(*arguments: Any) -> Any:
        with jax.disable_jit(False):
            return compiled(*arguments)

    return call


class VJP:
    """`jax.vjp`, as a `lstm_checks.targets.common.Library`."""

    compiles = True
    can = frozenset({SEVERAL, STILL, EMPTY})

    instead: ClassVar[Callable[..., Any] | None] = None
    """What makes of a pass, of `unrolled` and of `jax.tree.leaves` the function that is called in place of it compiled:
    set where a program is looked into."""

    @classmethod
    def _pass(cls, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a pass compiled, or what there is to be in its place when it is called."""
        compiled = jax.jit(function, compiler_options=COMPILER_OPTIONS)
        made: dict[Any, Callable[..., Any]] = {}

        def call(*arguments: Any) -> Any:
            if cls.instead is None:
                return compiled(*arguments)
            if cls.instead not in made:
                made[cls.instead] = cls.instead(function, unrolled, jax.tree.leaves)
            return made[cls.instead](*arguments)

        return call

    @classmethod
    @contextmanager
    def as_always(cls) -> Iterator[None]:
        """Have passes compiled as they are where nobody looks into them."""
        before, cls.instead = cls.instead, None
        try:
            with jax.disable_jit(False):
                yield
        finally:
            cls.instead = before

    def evaluator(self, run: Run) -> common.Evaluate:
        """Return a function of named arrays that gives the outputs of `run`, and its pullback."""
        forward = self._pass(run)
        backward = self._pass(lambda arrays, cotangents: jax.vjp(run, arrays)[1](cotangents)[0])

        @functools.cache
        def in_part(still: frozenset[str], used: tuple[int, ...]) -> Any:
            """Return the pullback of some outputs to some arrays: for the others JAX has symbols for zero."""

            def pull(arrays: Mapping[str, Any], cotangents: Any) -> Any:
                fixed = {name: arrays[name] for name in still}
                moving = {name: value for name, value in arrays.items() if name not in still}

                def some(given: Mapping[str, Any]) -> tuple[Any, ...]:
                    found = run({**fixed, **given})  # once: each run more is traced and compiled as well
                    return tuple(found[k] for k in used)

                return jax.vjp(some, moving)[1](cotangents)[0]

            return jax.jit(pull, compiler_options=COMPILER_OPTIONS)

        @with_x64
        def evaluate(arrays: Mapping[str, Any], still: frozenset[str] = frozenset()) -> Any:
            still = still | {name for name, value in arrays.items() if not is_floating(value.dtype)}
            kept = {name: np.array(value) for name, value in arrays.items()}
            found = forward(kept)

            @with_x64
            def pullback(given: Any, moved: object = None) -> dict[str, Any]:
                cotangents = tuple(
                    None if output is None else _in_its_dtype(c, output) for output, c in zip(found, given, strict=True)
                )
                used = tuple(k for k, cotangent in enumerate(cotangents) if cotangent is not None)
                if still or len(used) < sum(output is not None for output in found):
                    gradients = in_part(still, used)(kept, tuple(cotangents[k] for k in used))
                else:
                    gradients = backward(kept, cotangents)
                return {name: np.array(gradient) for name, gradient in gradients.items()}

            X = kept["X"]
            return tuple(None if output is None else common.as_given(np.array(output), X) for output in found), pullback

        return evaluate

    @staticmethod
    def ways(run: Run) -> Mapping[str, Way]:
        """Return the ways in which JAX differentiates besides, each compiled once a shape."""
        jvp = _compiled(lambda arrays, direction: jax.jvp(run, (arrays,), (direction,)))

        @with_x64
        def forwards(asked: Asked) -> Sequence[Part]:
            found, moved = jvp(dict(asked.arrays), _direction(asked))
            return [Part("t", moved), Part("again ", found)]

        @_compiled
        def twice_forwards(arrays: Mapping[str, Any], direction: Mapping[str, Any], cotangents: Any) -> Any:
            pull = lambda given: _pull(run, given, cotangents)  # noqa: E731
            return jax.jvp(pull, (arrays,), (direction,))[1]

        @_compiled
        def twice_back(arrays: Mapping[str, Any], direction: Mapping[str, Any], cotangents: Any) -> Any:
            pull = lambda given, arriving: _pull(run, given, arriving)  # noqa: E731
            return jax.vjp(pull, arrays, cotangents)[1](direction)

        @with_x64
        def forward_over_reverse(asked: Asked) -> Sequence[Part]:
            return [Part("d", gradients=twice_forwards(dict(asked.arrays), _direction(asked), asked.cotangents))]

        @with_x64
        def reverse_over_reverse(asked: Asked) -> Sequence[Part]:
            gradients, moved = twice_back(dict(asked.arrays), _direction(asked), asked.cotangents)
            return [Part("d", gradients=gradients), Part("t", moved)]

        @_compiled
        def mapped(own: Mapping[str, Any], others: Mapping[str, Any], cotangents: Any) -> Any:
            def of_one(one: Mapping[str, Any], arriving: Any) -> Any:
                found, pullback = jax.vjp(run, {**others, **one})
                return found, pullback(_like(found, arriving))[0]

            return jax.vmap(of_one)(own, cotangents)

        @with_x64
        def sample_by_sample(asked: Asked) -> Sequence[Part]:
            own = {name: asked.arrays[name][:, None] for name in asked.apart}
            own |= {name: asked.arrays[name] for name in asked.stacked}
            others = {name: value for name, value in asked.arrays.items() if name not in own}
            found, gradients = mapped(own, others, tuple(None if c is None else c[:, None] for c in asked.cotangents))
            cut = lambda of, k: jax.tree.map(lambda value: value[k], of)  # noqa: E731
            return [Part(f"{k}: ", cut(found, k), cut(gradients, k)) for k in range(len(own["X"]))]

        return {
            "jvp": forwards,
            "reverse over reverse": reverse_over_reverse,
            "forward over reverse": forward_over_reverse,
            SAMPLES: sample_by_sample,
        }

    @staticmethod
    @with_x64
    def look(run: Run, arrays: Mapping[str, Any]) -> Any:
        """Return the shapes and dtypes of the outputs."""
        return jax.eval_shape(run, dict(arrays))

    @staticmethod
    @with_x64
    def unreached(run: Run, arrays: Mapping[str, Any]) -> set[str]:
        """Return the arrays whose gradient is zero in the program of the pullback, as of what is stopped on the way."""
        moving = {name: value for name, value in arrays.items() if is_floating(value.dtype)}
        fixed = {name: value for name, value in arrays.items() if name not in moving}
        given = jax.tree.map(lambda output: np.ones(output.shape, output.dtype), jax.eval_shape(run, dict(arrays)))
        program = jax.make_jaxpr(lambda some: _pull(lambda own: run({**fixed, **own}), some, given))(moving)
        zeros = {out for step in program.eqns if _is_zero(step) for out in step.outvars}
        # A mapping's values come in the order of its names.
        pairs = zip(sorted(moving), program.jaxpr.outvars, strict=True)
        return {
            name for name, out in pairs if getattr(out, "val", 1) == 0 or (not hasattr(out, "val") and out in zeros)
        }

    @staticmethod
    @with_x64
    def low_precision(run: Run, arrays: Mapping[str, Any]) -> str:
        """Return the dtype of low precision in which something of the forward pass is computed."""
        seen = _dtypes_in(jax.make_jaxpr(run)(dict(arrays)))
        return next((low for low in common.LOW if low in seen), "")


_compiled = functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)


def _like(found: Any, cotangents: Any) -> Any:
    """Return the cotangents of the outputs that there are."""
    return tuple(None if output is None else c for output, c in zip(found, cotangents, strict=True))


def _pull(run: Run, arrays: Mapping[str, Any], cotangents: Any) -> Any:
    """Return the gradients, as a function that can be differentiated."""
    found, pullback = jax.vjp(run, arrays)
    return pullback(_like(found, cotangents))[0]


def _direction(asked: Asked) -> dict[str, Any]:
    """Return the direction, zero for arrays of which nobody gave one."""
    return {name: asked.direction.get(name, np.zeros_like(value)) for name, value in asked.arrays.items()}


def _is_zero(step: Any) -> bool:
    """Return whether a step of a program makes an array of zeros from nothing."""
    return step.primitive.name == "broadcast_in_dim" and getattr(step.invars[0], "val", 1) == 0


def _in_its_dtype(cotangent: Any, output: Any) -> Any:
    """Return a cotangent in the dtype of its output where that is of low precision, as after a cast inside."""
    if cotangent is None or output is None or str(output.dtype) not in common.LOW:
        return cotangent
    return cotangent.astype(output.dtype)


def _dtypes_in(program: Any) -> set[str]:
    """Return the dtypes of all that a traced program computes, in the programs within it, too."""
    inner = getattr(program, "jaxpr", program)
    if not hasattr(inner, "eqns"):
        parts = program if isinstance(program, tuple | list) else ()
        return {dtype for part in parts for dtype in _dtypes_in(part)}
    found = {str(value.aval.dtype) for step in inner.eqns for value in step.outvars if hasattr(value.aval, "dtype")}
    for step in inner.eqns:
        for part in step.params.values():
            found |= _dtypes_in(part)
    return found


def function_target(function: Callable[..., Any], name: str, taken: int, cell: Cell = PLAIN) -> Target | None:
    """Return the target of a JAX function, of so many arguments, to h and Cn; None if it is none."""
    p, inputs = common.probe_arrays(cell=cell)
    values = jax.tree.map(jax.numpy.asarray, (p, *inputs.values()))
    found = common.attempt(function, *values[:taken])
    if not isinstance(common.outputs(found)[0], jax.Array):
        return None
    common.must_be_plain(name, "a JAX function", cell, arrays=True)
    form = common.function_form(function, taken)
    return common.target_of(name, "JAX function", common.NAMED, [form], VJP(), named=True)


def network_function(function: Callable[..., Any], name: str, net: Network) -> Target | None:
    """Return the target of a JAX function of a network, in the by-name form without a pullback; None if it is none."""
    return function_network(function, name, net, VJP(), "JAX arrays", jax.numpy.asarray)


def scan_cell(step: Callable[..., Any], X: Any, h0: Any, C0: Any) -> Any:
    """Return h and Cn of `step(x, h, C)`, which returns (h, C), over all steps."""

    def body(carry: Any, x: Any) -> Any:
        h, C = step(x, *carry)
        return (h, C), h

    (_, Cn), h = jax.lax.scan(body, (h0, C0), X.swapaxes(0, 1))
    return h.swapaxes(0, 1), Cn


def scan_one(step: Callable[..., Any], X: Any, h0: Any) -> Any:
    """Return h of `step(x, h)`, which returns the next h, over all steps."""

    def body(h: Any, x: Any) -> Any:
        h = step(x, h)
        return h, h

    return jax.lax.scan(body, h0, X.swapaxes(0, 1))[1].swapaxes(0, 1)


def like(leaf: Any, X: Any) -> Any:
    """Return an array of a module in the dtype of its input: it was made where 64 bits are allowed."""
    is_array = hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact)
    return leaf.astype(X.dtype) if is_array else leaf


def name_of(path: Any) -> str:
    """Return the place of a leaf in a tree, as a name with dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")
