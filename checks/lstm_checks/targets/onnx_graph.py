"""An ONNX model read: its recurrent nodes as a network, and what each of its inputs, outputs and weights is.

What stands around the nodes may move numbers about, and nothing else: a node that would compute something is refused by
its name, and so is all of which it cannot be told what it is. Nothing is left out in silence.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper

from lstm_checks.targets.common import LOW, AdapterError, held_in
from lstm_checks.targets.onnx_axes import EVERY, INPUT, LENS, Port
from lstm_checks.targets.onnx_cells import GATES, cells_of
from lstm_checks.words import series
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named
from lstm_ref.network import FORWARD, REVERSE, Network

INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
OUTPUTS = ("Y", "Y_h", "Y_c")

_WEIGHTS = ("W", "R", "B", "P")
_STATES = ("initial_h", "initial_c")

_MOVING = frozenset(
    {
        *("Identity", "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Slice", "Gather", "Concat", "Split"),
        *("Cast", "CastLike", "Expand", "Tile", "ReverseSequence", "Dropout"),
    }
)
"""The operators that move numbers about, and compute nothing."""

_JOINING = frozenset({"Add", "Sum", "ReduceSum"})
"""Those that may besides add the outputs of two directions."""

_SIZES = frozenset({"Shape", "Size"})

_OF_SEVERAL = frozenset({"Concat", "Add", "Sum"})
"""The operators of which all inputs are moved; of all others here it is the first, the others say how."""

_FLOATS: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
}
_LOW = {number: word for number, word in _FLOATS.items() if word in LOW}
_WHOLE: dict[int, str] = {TensorProto.INT32: "int32", TensorProto.INT64: "int64"}


@dataclass(frozen=True)
class Origin:
    """Where a number comes from: an input of the graph, a constant, or an output of a recurrent node."""

    kind: str
    name: str
    node: int = -1


@dataclass(frozen=True)
class Trace:
    """What a tensor is made of: where its numbers come from, how often they are turned, and whether they are added."""

    origins: frozenset[Origin] = frozenset()
    turns: int = 0
    added: bool = False

    def of(self, kind: str) -> tuple[str, ...]:
        """Return the names of its origins of a kind."""
        return tuple(sorted(origin.name for origin in self.origins if origin.kind == kind))


@dataclass(eq=False)
class Unit:
    """A recurrent node.

    Attributes
    ----------
    node : NodeProto
    number : int
        Among the recurrent nodes, in the order of the graph.
    said : mapping
        Its attributes by name.
    layer : int
        From 0.
    """

    node: NodeProto
    number: int
    said: Mapping[str, Any]
    layer: int = 0
    turned: bool = False

    @property
    def operator(self) -> str:
        """LSTM, GRU or RNN."""
        return str(self.node.op_type)

    @property
    def words(self) -> str:
        """What it is called."""
        return in_words(self.node)

    @cached_property
    def given(self) -> dict[str, str]:
        """What is wired to it, by ONNX's names."""
        return {name: wired for name, wired in zip(INPUTS, self.node.input, strict=False) if wired}

    @cached_property
    def returned(self) -> dict[str, str]:
        """What it returns, by ONNX's names."""
        return {name: wired for name, wired in zip(OUTPUTS, self.node.output, strict=False) if wired}

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions of its rows, as the graph means them: one that is given X turned round is the other one."""
        word = self.said.get("direction", b"forward").decode()
        known = {"forward": (FORWARD,), "reverse": (REVERSE,), "bidirectional": (FORWARD, REVERSE)}
        if word not in known:
            raise AdapterError(f"{self.words} has the direction {word!r}, expected one of {', '.join(known)}")
        other = {FORWARD: REVERSE, REVERSE: FORWARD}
        return tuple(other[d] for d in known[word]) if self.turned else known[word]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The endings of its places' names."""
        return tuple(f"_l{self.layer}{'_reverse' if d == REVERSE else ''}" for d in self.directions)


def in_words(node: NodeProto) -> str:
    """Return a node as it is said: "LSTM node 'lstm'"."""
    return f"{node.op_type} node {node.name!r}" if node.name else f"{node.op_type} node of {node.output[0]!r}"


@dataclass
class Graph:
    """A model read.

    Attributes
    ----------
    model : ModelProto
        With constants for initialisers, and functions put in their place.
    units : tuple of Unit
    cell : Cell
        The cell or the network that it is.
    inputs, outputs : tuple of Port
    weights : mapping
        By recurrent node and by W, R, B or P, the name of the array.
    lens : str
        The name of what says the lengths, an initialiser or an input; empty where nothing does.
    ignores_lens : bool
        Whether some node is not told them.
    notes : tuple of str
    dtype : str
        What all its numbers are in: float32, or one of low precision.
    """

    model: ModelProto
    units: tuple[Unit, ...]
    cell: Cell
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    weights: Mapping[tuple[int, str], str] = field(default_factory=dict)
    lens: str = ""
    ignores_lens: bool = False
    turned_out: bool = False
    notes: tuple[str, ...] = ()
    dtype: str = "float32"

    @property
    def title(self) -> str:
        """What it is called: "LSTM node 'lstm'"."""
        if len(self.units) == 1:
            return self.units[0].words
        names = [repr(unit.node.name or unit.node.output[0]) for unit in self.units]
        return f"{self.units[0].operator} nodes {series(names)}"


class Reader:
    """Reads a model; `path` is what it is called in messages."""

    def __init__(self, path: str, model: ModelProto) -> None:
        self.path = path
        self.model = _prepared(model)
        graph = self.model.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.fed = {value.name: value for value in graph.input if value.name not in self.constants}
        self.units = self._units()
        self.made = {name: node for node in graph.node for name in node.output if name}
        self.traces = self._traces()

    def refuse(self, why: str) -> AdapterError:
        """Return the error that says why a model is not judged."""
        return AdapterError(f"{self.path} cannot be judged: {why}")

    def _units(self) -> tuple[Unit, ...]:
        """Return the recurrent nodes."""
        nodes = [node for node in self.model.graph.node if _is_recurrent(node)]
        for node in self.model.graph.node:
            if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
                raise self.refuse(f"it has the {in_words(node)}, a loop or a branch, expected a graph without")
        if not nodes:
            others = sorted({node.op_type for node in self.model.graph.node})
            raise self.refuse(
                f"it has no LSTM, GRU or RNN node, expected one at least; its operators are "
                f"{', '.join(others) or 'none'}"
            )
        other = next((node for node in nodes if node.op_type != nodes[0].op_type), None)
        if other is not None:
            raise self.refuse(
                f"it has two different cells, {in_words(nodes[0])} and {in_words(other)}, expected one kind: "
                "cut it in two"
            )
        return tuple(Unit(node, k, _attributes(node)) for k, node in enumerate(nodes))

    def _traces(self) -> dict[str, Trace]:
        """Return what each tensor is made of, the recurrent nodes' outputs being made of nothing else."""
        found = {name: Trace(frozenset({Origin("input", name)})) for name in self.fed}
        found |= {name: Trace(frozenset({Origin("constant", name)})) for name in self.constants}
        numbers = {id(unit.node): unit for unit in self.units}
        for node in self.model.graph.node:
            if id(node) in numbers:
                unit = numbers[id(node)]
                found |= {
                    name: Trace(frozenset({Origin(which, name, unit.number)})) for which, name in unit.returned.items()
                }
            else:
                trace = self._trace_of(node, found)
                found |= dict.fromkeys((name for name in node.output if name), trace)
        return found

    def _trace_of(self, node: NodeProto, known: Mapping[str, Trace]) -> Trace:
        """Return what the outputs of a node are made of."""
        if node.op_type in _SIZES:
            return Trace()
        if node.op_type == "ConstantOfShape":
            value = _attributes(node).get("value")
            zero = value is None or not numpy_helper.to_array(value).any()
            return Trace() if zero else Trace(frozenset({Origin("constant", in_words(node))}))
        data = [name for name in self._numbers_of(node) if name]
        parts = [known[name] for name in data if name in known]
        origins = frozenset(origin for part in parts for origin in part.origins)
        turns = max((part.turns for part in parts), default=0) + self._turns(node)
        return Trace(origins, turns, node.op_type in _JOINING or any(part.added for part in parts))

    def _numbers_of(self, node: NodeProto) -> Iterable[str]:
        """Return the inputs of a node whose numbers its outputs hold; all of what is not known."""
        if node.op_type in (_MOVING | _JOINING) - _OF_SEVERAL:
            return node.input[:1]
        return node.input

    def _turns(self, node: NodeProto) -> int:
        """Return 1 where a node turns something round."""
        if node.op_type == "ReverseSequence":
            return 1
        if node.op_type == "Slice" and len(node.input) > 4 and node.input[4] in self.constants:
            return int((self.values(node.input[4]) < 0).sum() % 2)
        return 0

    def values(self, name: str) -> Any:
        """Return a constant's values; NaN where they lie in a file that is not there."""
        tensor = self.constants[name]
        return np.array(np.nan) if tensor.external_data else numpy_helper.to_array(tensor)

    def read(self) -> Graph:
        """Return the model read."""
        self._must_use_all()
        self._set_layers()
        self._must_move_alone()
        cell = self._cell()
        net = self._network(cell)
        lens, ignores = self._lens()
        inputs, crossed = self._inputs()
        inputs += self._lens_port(lens)
        outputs = self._outputs()
        unit = self.units[0]
        turned_out = False
        notes = crossed
        if len(self.units) == 1 and unit.turned and not self.traces[outputs[0].name].turns:
            turned_out = outputs[0].role == EVERY
            notes += ("its output comes in the order in which its reverse direction runs, and is turned round",)
        whole: Cell = net
        alone = len(net.places) == 1 and net.directions == (FORWARD,) and not lens
        if alone and {port.role for port in outputs} <= {EVERY, "Cn"} and outputs[0].role == EVERY:
            whole = cell
        weights = {(unit.number, which): name for unit in self.units for which, name in self._weights_of(unit).items()}
        self._must_differ(weights)
        found = Graph(
            self.model, self.units, whole, tuple(inputs), tuple(outputs), weights, lens, ignores, turned_out, notes
        )
        return replace(found, dtype=self._held(found))

    def _held(self, graph: Graph) -> str:
        """Return what all of a graph's numbers are in; raises where some are in low precision and others are not."""
        kinds = {port.name: port.kind for port in (*graph.inputs, *graph.outputs) if port.role != LENS}
        for name in graph.weights.values():
            known = name in self.constants
            number = self.constants[name].data_type if known else self.fed[name].type.tensor_type.elem_type
            kinds[name] = self._kind(name, number)
        found = held_in(self.path, kinds)
        if found in LOW and len(graph.cell.places) > 1:
            raise self.refuse(f"it is in {found}: low precision is not judged of several layers or directions")
        return found

    def _must_use_all(self) -> None:
        """Raise where a recurrent node reaches no output, or an output is declared that no node makes."""
        reached: set[str] = set()
        waiting = [output.name for output in self.model.graph.output]
        while waiting:
            name = waiting.pop()
            node = self.made.get(name)
            if name in reached or node is None:
                continue
            reached |= set(node.output)
            waiting += [wired for wired in node.input if wired]
        for unit in self.units:
            if not reached & set(unit.returned.values()):
                raise self.refuse(f"{unit.words} reaches no output of the model, expected all to do so")

    def _set_layers(self) -> None:
        """Find in which layer each node stands, and whether what it is given is turned round."""
        for unit in self.units:
            if "X" not in unit.given:
                raise self.refuse(f"{unit.words} has no X")
            trace = self.traces[unit.given["X"]]
            below = [self.units[origin.node] for origin in trace.origins if origin.node >= 0]
            if below and (trace.of("input") or trace.of("Y_h") or trace.of("Y_c")):
                others = [*trace.of("input"), *trace.of("Y_h"), *trace.of("Y_c")]
                raise self.refuse(
                    f"X of {unit.words} is made of {others[0]} besides a layer's output, expected Y of the layer "
                    "below alone"
                )
            if not below and len(trace.of("input")) != 1:
                made = series([*trace.of("input"), *trace.of("constant")]) or "nothing"
                raise self.refuse(f"X of {unit.words} is made of {made}, expected one input of the model")
            unit.layer = 1 + max((other.layer for other in below), default=-1)
            unit.turned = bool(trace.turns % 2)
            if unit.turned and len(unit.directions) > 1:
                raise self.refuse(f"X of {unit.words}, which runs both ways, is turned round: expected it as it is")
        for unit in self.units:
            trace = self.traces[unit.given["X"]]
            under = {other.number for other in self.units if other.layer == unit.layer - 1}
            if unit.layer and {origin.node for origin in trace.origins} != under:
                raise self.refuse(
                    f"X of {unit.words} is not made of all that the layer below gives, expected both directions"
                )

    def _must_move_alone(self) -> None:
        """Raise for a node on the way of what is judged that does more than move it."""
        units = {id(unit.node) for unit in self.units}
        for node in self.model.graph.node:
            if id(node) in units or node.op_type in _SIZES or node.op_type == "ConstantOfShape":
                continue
            trace = self.traces[node.output[0]]
            live = [origin for origin in trace.origins if origin.kind != "constant"]
            if not live:
                continue
            if floats := self._floats(trace):
                raise self.refuse(
                    f"{in_words(node)} takes the weights {floats[0]!r}, which would not be judged: expected a graph "
                    "that ends with its LSTM, GRU or RNN; cut it there (onnx.utils.extract_model)"
                )
            joins = node.op_type in _JOINING and all(origin.kind == "Y" for origin in live)
            if node.domain not in ("", "ai.onnx") or not (node.op_type in _MOVING or joins):
                if not any(self._is_float(origin) for origin in live):
                    continue
                raise self.refuse(
                    f"{in_words(node)} computes something with {live[0].name!r}, expected nodes that only move it, "
                    f"such as Transpose, Squeeze, Slice and Concat; cut the graph there (onnx.utils.extract_model)"
                )
            if node.op_type == "Cast" and _attributes(node).get("to") in _LOW:
                low = _LOW[_attributes(node)["to"]]
                raise self.refuse(
                    f"{in_words(node)} makes it {low}: what is in several formats is not judged, expected one of all"
                )
            if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
                raise self.refuse(f"{in_words(node)} may train, expected one for inference")

    def _floats(self, trace: Trace) -> list[str]:
        """Return the constants among origins that are no whole numbers."""
        names = (name for name in trace.of("constant") if name in self.constants)
        return [name for name in names if self.constants[name].data_type not in (*_WHOLE, TensorProto.BOOL)]

    def _is_float(self, origin: Origin) -> bool:
        """Return whether an origin holds no whole numbers."""
        value = self.fed.get(origin.name)
        return value is None or value.type.tensor_type.elem_type not in (*_WHOLE, TensorProto.BOOL)

    def _cell(self) -> Cell:
        """Return the cell of all nodes."""
        known: dict[Cell, str] = {}
        for unit in self.units:
            unknown = set(unit.said) - _KNOWN
            if unknown:
                raise self.refuse(f"{unit.words} has {sorted(unknown)[0]}, expected {', '.join(sorted(_KNOWN))}")
            try:
                cells = cells_of(unit.operator, unit.said, "P" in unit.given, len(unit.directions))
            except ValueError as error:
                raise self.refuse(f"{unit.words}: {error}") from error
            known |= {cell: f"a {cell.title} in {unit.words}" for cell in cells}
        if len(known) > 1:
            raise self.refuse(f"it has {series(list(known.values()))}, expected one cell everywhere")
        return next(iter(known))

    def _network(self, cell: Cell) -> Network:
        """Return the network that the nodes are."""
        layers = 1 + self._top
        kinds = set()
        for layer in range(layers):
            directions = [d for unit in self.units if unit.layer == layer for d in unit.directions]
            if len(set(directions)) != len(directions):
                names = series([unit.words for unit in self.units if unit.layer == layer])
                raise self.refuse(f"{names} stand side by side and run the same way, expected one of each direction")
            kinds.add(tuple(sorted(directions)))
        if len(kinds) > 1:
            runs = "; ".join(f"{unit.words} {series(unit.directions)}" for unit in self.units)
            raise self.refuse(
                f"its layers have different directions, {runs}, expected the same in each: cut it into models of one "
                "layer, onnx.utils.extract_model"
            )
        every = kinds.pop()
        if not all(self.traces[unit.given["X"]].added == self._added for unit in self.units if unit.layer):
            raise self.refuse("its layers hand on their directions in different ways, expected one way in all")
        word = every[0] if len(every) == 1 else "sum" if self._added else "both"
        net = cell_named(f"{cell.name}@{layers}x{word}")
        assert isinstance(net, Network)
        return net

    @property
    def _top(self) -> int:
        """The last layer."""
        return max(unit.layer for unit in self.units)

    @cached_property
    def _added(self) -> bool:
        """Whether directions are added, and not put side by side."""
        tensors = [output.name for output in self.model.graph.output]
        tensors += [unit.given["X"] for unit in self.units if unit.layer]
        traces = [self.traces[name] for name in tensors if name in self.traces]
        return any(trace.added for trace in traces if {origin.kind for origin in trace.origins} == {"Y"})

    def _weights_of(self, unit: Unit) -> dict[str, str]:
        """Return the names of a node's arrays: each an initialiser, or an input of the model."""
        found: dict[str, str] = {}
        for which in _WEIGHTS:
            wired = unit.given.get(which, "")
            if which in ("W", "R") and not wired:
                raise self.refuse(f"{unit.words} has no {which}")
            while wired in self.made and self.made[wired].op_type == "Identity":
                wired = self.made[wired].input[0]
            if wired in self.made:
                raise self.refuse(
                    f"{which} of {unit.words} is made by {in_words(self.made[wired])}, expected an initialiser, whose "
                    "values can be set: fold the constants first"
                )
            found |= {which: wired} if wired else {}
        units, count = int(unit.said.get("hidden_size", 0)), len(unit.directions)
        dims = {which: self._dims(name) for which, name in found.items()}
        R = dims["R"]
        if R is not None and units and (count, len(GATES[unit.operator]) * units, units) != R:
            due = (count, len(GATES[unit.operator]) * units, units)
            raise self.refuse(f"{unit.words} has hidden_size={units}, but R of shape {R}, expected {due}")
        return found

    def _dims(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a constant; None of an input."""
        return tuple(self.constants[name].dims) if name in self.constants else None

    def _must_differ(self, weights: Mapping[tuple[int, str], str]) -> None:
        """Raise where two nodes share an array."""
        seen: dict[str, tuple[int, str]] = {}
        for (number, which), name in weights.items():
            if name in seen:
                raise self.refuse(
                    f"{self.units[seen[name][0]].words} and {self.units[number].words} share the array {name!r}, "
                    "expected arrays of their own"
                )
            seen[name] = (number, which)

    def _inputs(self) -> tuple[list[Port], tuple[str, ...]]:
        """Return the ports of X and of the initial states, and what is to be said of these."""
        first = next(unit for unit in self.units if unit.layer == 0)
        x = self.traces[first.given["X"]].of("input")[0]
        roles: dict[str, list[Any]] = {x: [INPUT]}
        for which, role in zip(_STATES, ("h0", "C0"), strict=True):
            for unit in sorted(self.units, key=lambda unit: unit.layer):
                name = self._state_of(unit, which)
                if not name:
                    continue
                known = roles.setdefault(name, [role])
                if known[0] != role:
                    raise self.refuse(
                        f"{name!r} is {known[0]} and {role} at once, expected an input of its own for each"
                    )
                known += [suffix for suffix in unit.suffixes if suffix not in known]
        told: tuple[str, ...] = ()
        if crossed := self._crossed(roles):
            roles |= {name: ["C0" if roles[name][0] == "h0" else "h0", *roles[name][1:]] for name in crossed}
            named = series([repr(name) for name in crossed])
            told = (f"{named} are states by their names, and each is wired to where the other belongs",)
        roles |= self._left_over(roles)
        ports = [self._port(name, role, suffixes) for name, (role, *suffixes) in roles.items()]
        return ports, told

    def _crossed(self, roles: Mapping[str, list[Any]]) -> list[str]:
        """Return the two inputs that are initial states and say by their names that each is the other one."""
        states = {name: role for name, (role, *_) in roles.items() if role in ("h0", "C0")}
        said = {name: (_looks_like(name, _MEMORY), _looks_like(name, _HIDDEN)) for name in states}
        due = {"h0": (True, False), "C0": (False, True)}
        across = [name for name, role in states.items() if name in self.fed and said[name] == due[role]]
        return across if len(across) == len(states) == 2 else []

    def _port(self, name: str, role: str, suffixes: Iterable[str] = ()) -> Port:
        """Return the port of an input or of an initialiser."""
        order = [suffix for unit in sorted(self.units, key=_standing) for suffix in unit.suffixes]
        own = tuple(suffix for suffix in order if suffix in suffixes)
        if name in self.constants:
            tensor = self.constants[name]
            return Port(name, role, tuple(tensor.dims), self._kind(name, tensor.data_type), own)
        value = self.fed[name]
        return Port(name, role, _declared(value), self._kind(name, value.type.tensor_type.elem_type), own)

    def _kind(self, name: str, number: int) -> str:
        """Return the dtype of an array."""
        if number not in (*_FLOATS, *_WHOLE):
            raise self.refuse(f"{name} is of type {TensorProto.DataType.Name(number)}, expected FLOAT")
        return (_FLOATS | _WHOLE)[number]

    def _state_of(self, unit: Unit, which: str) -> str:
        """Return the input or the initialiser that an initial state of a node is; empty where it is zero."""
        wired = unit.given.get(which, "")
        trace = self.traces.get(wired, Trace())
        if any(origin.node >= 0 for origin in trace.origins):
            raise self.refuse(f"{which} of {unit.words} comes from another layer, expected an input of the model")
        floats = [name for name in self._floats(trace) if np.any(self.values(name) != 0)]
        made = [name for name in trace.of("constant") if name not in self.constants]
        if not trace.of("input") and not floats and not made:
            return ""
        if len(trace.of("input")) == 1 and not floats and not made:
            return trace.of("input")[0]
        if wired in self.constants:
            return wired
        raise self.refuse(
            f"{which} of {unit.words} is made of {series([*trace.of('input'), *floats, *made])}, expected one input of "
            "the model, an initialiser, or zeros"
        )

    def _left_over(self, roles: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the roles of inputs that reach no node, as their names say them."""
        used = {*roles, *self._lens_names()}
        used |= {name for unit in self.units for name in (unit.given.get(which, "") for which in _WEIGHTS)}
        found: dict[str, list[Any]] = {}
        suffixes = [suffix for unit in self.units for suffix in unit.suffixes]
        for name, value in self.fed.items():
            if name in used or (_is_whole(value) and _looks_like(name, ("len",))):
                continue
            taken = {role for role, *_ in (*roles.values(), *found.values())}
            memory = _looks_like(name, _MEMORY)
            role = "C0" if memory and self.units[0].operator == "LSTM" else "h0"
            known = memory or _looks_like(name, (*_HIDDEN, "state"))
            if not known or role in taken or _is_whole(value):
                raise self.refuse(f"its input {name!r} reaches no LSTM, GRU or RNN node, and would not be judged")
            found[name] = [role, *suffixes]
        return found

    def _lens_names(self) -> set[str]:
        """Return the names of what says lengths."""
        return {name for unit in self.units for name in self._lens_of(unit)}

    def _lens_of(self, unit: Unit) -> tuple[str, ...]:
        """Return what says a node's lengths: an input or an initialiser; nothing where all steps are meant."""
        wired = unit.given.get("sequence_lens", "")
        trace = self.traces.get(wired, Trace())
        names = (*trace.of("input"), *(name for name in trace.of("constant") if name == wired))
        if len(names) > 1 or (not names and trace.of("constant")):
            made = series([*trace.of("input"), *trace.of("constant")])
            raise self.refuse(f"sequence_lens of {unit.words} is made of {made}, expected an input or an initialiser")
        return names

    def _lens(self) -> tuple[str, bool]:
        """Return what says the lengths, and whether some node is not told them."""
        names = self._lens_names()
        unused = [name for name, value in self.fed.items() if _is_whole(value) and _looks_like(name, ("len",))]
        names |= set(unused)
        if len(names) > 1:
            raise self.refuse(f"its lengths are said by {series(sorted(names))}, expected by one")
        name = next(iter(names), "")
        return name, bool(name) and any(self._lens_of(unit) != (name,) for unit in self.units)

    def _lens_port(self, name: str) -> list[Port]:
        """Return the port of the lengths."""
        if not name:
            return []
        if name in self.fed and self.fed[name].type.tensor_type.elem_type not in _WHOLE:
            raise self.refuse(f"its lengths {name!r} are no whole numbers, expected (m,) of INT32")
        return [self._port(name, LENS)]

    def _outputs(self) -> list[Port]:
        """Return the ports of the outputs, h first."""
        top, found = self._top, []
        for output in self.model.graph.output:
            trace = self.traces.get(output.name, Trace())
            kinds = {origin.kind for origin in trace.origins}
            units = sorted({origin.node for origin in trace.origins if origin.node >= 0})
            if len(kinds) != 1 or not units:
                made = series(sorted(origin.name for origin in trace.origins)) or "nothing"
                raise self.refuse(
                    f"its output {output.name!r} is made of {made}, expected Y, Y_h or Y_c of nodes alone"
                )
            kind = kinds.pop()
            kept = self._kind(output.name, output.type.tensor_type.elem_type or TensorProto.FLOAT)
            if kind == "Y":
                if {self.units[k].layer for k in units} != {top}:
                    raise self.refuse(f"its output {output.name!r} is made of Y of a layer that is not the last")
                count = sum(len(self.units[k].directions) for k in units)
                if count != sum(len(unit.directions) for unit in self.units if unit.layer == top):
                    raise self.refuse(f"its output {output.name!r} is of one direction, expected both")
                found.append(self._of_every_step(output, kept, 1 if self._added else count))
            else:
                own = [suffix for unit in sorted(self.units, key=_standing) for suffix in unit.suffixes]
                mine = {suffix for k in units for suffix in self.units[k].suffixes}
                suffixes = tuple(suffix for suffix in own if suffix in mine)
                found.append(Port(output.name, {"Y_h": "hn", "Y_c": "Cn"}[kind], _declared(output), kept, suffixes))
        if not found:
            raise self.refuse("it has no outputs")
        for role in (EVERY, "hn", "Cn"):
            held = [suffix for port in found if port.role == role for suffix in port.suffixes or ("",)]
            if len(set(held)) != len(held):
                names = series([repr(port.name) for port in found if port.role == role])
                raise self.refuse(f"its outputs {names} are the same thing, expected one of each")
        return sorted(found, key=lambda port: port.role != EVERY)

    def _of_every_step(self, output: Any, kind: str, directions: int) -> Port:
        """Return the port of an output made of Y: h of every step, or the last where it has an axis less than X."""
        dims, x = _declared(output), self.traces[self.units[0].given["X"]].of("input")
        whole = _declared(self.fed[x[0]]) if x else None
        if dims is None or whole is None or not (len(dims) == 2 < len(whole)):
            return Port(output.name, EVERY, dims, kind, (), directions)
        top = [suffix for unit in self.units for suffix in unit.suffixes if unit.layer == self._top]
        if len(top) > 1:
            raise self.refuse(
                f"its output {output.name!r} is one step of both directions, of which one is not the final state: "
                "expected Y of every step, or Y_h"
            )
        return Port(output.name, "hn", dims, kind, tuple(top))


_MEMORY = ("c0", "c_0", "cell", "initial_c", "_c", "c_in", "cx")
_HIDDEN = ("h0", "h_0", "hidden", "initial_h", "_h", "h_in", "hx")
"""What the names of initial states have in them."""

_KNOWN = frozenset(
    {
        *("direction", "hidden_size", "activations", "activation_alpha", "activation_beta"),
        *("input_forget", "linear_before_reset", "layout", "output_sequence", "clip"),
    }
)
"""The attributes that are known what to do with."""


def _standing(unit: Unit) -> tuple[int, bool]:
    """Return a key that puts nodes in the order of their places."""
    return unit.layer, unit.directions[0] == REVERSE


def _prepared(model: ModelProto) -> ModelProto:
    """Return a copy of a model with functions in their place, and Constant nodes as initialisers."""
    found = inliner.inline_local_functions(model) if model.functions else model
    copy = ModelProto()
    copy.CopyFrom(found)
    nodes = list(copy.graph.node)
    del copy.graph.node[:]
    for node in nodes:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and not _is_text(node):
            copy.graph.initializer.append(_constant(node))
        else:
            copy.graph.node.append(node)
    return copy


def _is_text(node: NodeProto) -> bool:
    """Return whether a constant is text, or sparse."""
    return any(attribute.name in ("value_string", "value_strings", "sparse_value") for attribute in node.attribute)


def _constant(node: NodeProto) -> TensorProto:
    """Return a Constant node as an initialiser."""
    (name, value), *_ = _attributes(node).items()
    if isinstance(value, TensorProto):
        tensor = TensorProto()
        tensor.CopyFrom(value)
    else:
        dtype = np.float32 if name.startswith("value_float") else np.int64
        tensor = numpy_helper.from_array(np.asarray(value, dtype))
    tensor.name = node.output[0]
    return tensor


def _attributes(node: NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _is_recurrent(node: NodeProto) -> bool:
    """Return whether a node is an LSTM, a GRU or an RNN."""
    return node.op_type in GATES and node.domain in ("", "ai.onnx")


def _is_whole(value: Any) -> bool:
    """Return whether an input is of whole numbers."""
    return value.type.tensor_type.elem_type in _WHOLE


def _looks_like(name: str, parts: Iterable[str]) -> bool:
    """Return whether a name has some part in it."""
    return any(part in name.lower() for part in parts)


def _declared(value: Any) -> tuple[Any, ...] | None:
    """Return the sizes that an input or output declares: numbers, names, or None each; None where not even a rank."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in kind.shape.dim)
