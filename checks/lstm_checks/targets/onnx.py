"""ONNX as a target: a whole graph by what enters and leaves it, run by ONNX Runtime, forward only and in float32.

A model's weights are its own initialisers, which are set to those of each case. What its inputs and outputs are is read
from the graph (`onnx_graph.py`), which of their axes is which from what they declare, and by running it
(`onnx_axes.py`). ONNX Runtime has no kernel of LSTM, GRU or RNN for float64.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lstm_checks import tolerance
from lstm_checks.calling import describe_error
from lstm_checks.cases import LENGTHS
from lstm_checks.contract import CN, DCN, DHN, LAST, PLAIN, STATES, SizeLimits, Target
from lstm_checks.formats import array_dtype, dtype_of
from lstm_checks.targets.common import AdapterError
from lstm_checks.targets.network import with_conventions
from lstm_checks.targets.onnx_axes import EVERY, INPUT, LENS, Axes, Declared, Port, arrangements, fits, in_words
from lstm_checks.targets.onnx_cells import GATES, arrays_of, attributes_of
from lstm_checks.targets.onnx_graph import Graph, Reader
from lstm_ref.cell import Cell
from lstm_ref.network import FORWARD, Network

_OPSET = 14

_PROBED = ({"m": 3, "s": 5}, {"m": 1, "s": 5}, {"m": 3, "s": 1}, {"m": 1, "s": 1})
"""The numbers of samples and steps with which a graph is tried out, where it declares none."""

_OTHER = {"m": 2, "s": 4, "e": 6, "u": 7}
"""Other sizes, to find out which are free."""


def framework_target(cell: Cell = PLAIN) -> Target:
    """Return the target of a node of a cell's own, in a model made for it."""
    return _made(cell, cell, 1, (FORWARD,), "concat")


def framework_network(net: Network) -> Target:
    """Return the target of a model made for a network: a node for each layer, and lengths."""
    return _made(net, net.cell, net.layers, net.directions, net.join)


def _made(whole: Cell, cell: Cell, layers: int, directions: tuple[str, ...], join: str) -> Target:
    """Return the target of a model that is made for a cell or a network."""
    try:
        model = _model(cell, layers, directions, join, isinstance(whole, Network))
    except ValueError as error:
        raise AdapterError(f"{error}, expected plain, coupled, peephole, gru, gru_reset_after or rnn") from error
    name = f"onnx {onnx.__version__}"
    target = _target(Reader(name, model).read(), name)
    operator, _ = attributes_of(cell)
    nodes = f"{layers} ONNX {operator} node{'s' if layers > 1 else ''}" if layers > 1 else f"ONNX {operator} node"
    # Its own axes are no news to anybody.
    notes = tuple(note for note in target.notes if not note.startswith(_AXES_SAID))
    return replace(target, kind=f"{nodes}, by onnxruntime {onnxruntime.__version__}", notes=notes)


def _model(cell: Cell, layers: int, directions: tuple[str, ...], join: str, whole: bool) -> ModelProto:
    """Return a model of a node a layer; `whole` with lengths, and the final hidden states."""
    operator, said = attributes_of(cell)
    count, e, u = len(directions), 2, 3
    if count > 1:
        said |= {"activations": [*said["activations"]] * 2} if "activations" in said else {}
        for which in ("activation_alpha", "activation_beta"):
            said |= {which: [*said[which]] * 2} if which in said else {}
    word = "bidirectional" if count > 1 else directions[0]
    states = ["initial_h", "initial_c"][: len(cell.states)]
    weights: dict[str, Any] = {}
    nodes: list[Any] = []
    inputs: list[tuple[str, Any]] = [("X", ("s", "m", None))]
    outputs: list[tuple[str, Any]] = []
    below = "X"
    for layer in range(layers):
        at, wide = f"_l{layer}" if whole else "", e if layer == 0 else u * (count if join == "concat" else 1)
        rows = len(GATES[operator]) * u
        shapes = {"W": (count, rows, wide), "R": (count, rows, u), "B": (count, 2 * rows)}
        shapes |= {"P": (count, 3 * u)} if "pi" in cell.parameters else {}
        weights |= {f"{name}{at}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
        own = [name + at for name in ("W", "R", "B")]
        given = [below, *own, "lengths" if whole else "", *(name + at for name in states)]
        given += [f"P{at}"] if "P" in shapes else []
        finals = [name + at for name in ("Y_h", "Y_c")[: len(states)]]
        nodes.append(
            helper.make_node(
                operator,
                given,
                [f"Y{at}", *finals],
                name=f"{operator.lower()}{at}",
                hidden_size=u,
                direction=word,
                **said,
            )
        )
        inputs += [(name + at, (count, "m", None)) for name in states]
        outputs += [(name, (count, "m", None)) for name in finals]
        below, joined = f"joined{at}", _joined(f"Y{at}", f"joined{at}", join if count > 1 else "sum")
        nodes += joined if layer < layers - 1 or count > 1 else []
    last = f"Y_l{layers - 1}" if whole else "Y"
    every: tuple[str, Any] = (below, ("s", "m", None)) if count > 1 else (last, ("s", 1, "m", None))
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    values = [value(name, shape=shape) for name, shape in inputs]
    values += [helper.make_tensor_value_info("lengths", TensorProto.INT32, ("m",))] if whole else []
    weights |= {"shape": np.array([0, 0, -1]), "axis": np.array([1])}
    graph = helper.make_graph(
        nodes,
        operator.lower(),
        values,
        [value(name, shape=shape) for name, shape in [every, *(o for o in outputs if whole or "Y_c" in o[0])]],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    # The oldest version of the file format with these operators: any ONNX Runtime of today reads it.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def _joined(given: str, made: str, join: str) -> list[Any]:
    """Return the nodes that put directions, (s, 2, m, u), side by side or add them."""
    if join == "sum":
        return [helper.make_node("ReduceSum", [given, "axis"], [made], keepdims=0)]
    turned = f"{made}_turned"
    return [
        helper.make_node("Transpose", [given], [turned], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [turned, "shape"], [made]),
    ]


def file_target(path: str) -> Target:
    """Return the target of a model file.

    Raises
    ------
    AdapterError
        When the file is no model, or is something that cannot be judged, with the name of what is in the way.
    """
    try:
        model = _loaded(path)
    except Exception as error:
        raise AdapterError(f"{path} cannot be read as an ONNX model: {describe_error(error)}") from error
    return _target(Reader(path, model).read(), path)


def _loaded(path: str) -> ModelProto:
    """Return the model of a file; its weights may lie elsewhere, and need not be there: they are set anyway."""
    try:
        return onnx.load(path)
    except (FileNotFoundError, onnx.checker.ValidationError):
        return onnx.load(path, load_external_data=False)


@dataclass
class _Runner:
    """Runs a graph with a case's arrays; `axes` says how what enters and leaves it lies."""

    graph: Graph
    axes: Mapping[str, Axes] = field(default_factory=dict)
    kept: tuple[Any, Any] = (None, None)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what each output of the graph is, as the graph has it."""
        fed = {port.name: self._fed(port, inputs) for port in self.graph.inputs}
        fed |= {name: array.astype(array_dtype(self.graph.dtype)) for name, array in self._weights(inputs).items()}
        own = {tensor.name for tensor in self.graph.model.graph.initializer}
        session = self._session({name: array for name, array in fed.items() if name in own}, inputs)
        given = {name: array for name, array in fed.items() if name not in own}
        values = session.run(None, {name: np.ascontiguousarray(array) for name, array in given.items()})
        return dict(zip((port.name for port in session.get_outputs()), values, strict=True))

    def _fed(self, port: Port, inputs: Mapping[str, Any]) -> Any:
        """Return what is given for an input of the graph."""
        if port.role == INPUT:
            array = inputs["X"]
        elif port.role == LENS:
            m, s = inputs["X"].shape[:2]
            array = np.asarray(inputs["lengths"]) if "lengths" in inputs else np.full(m, s)
        else:
            array = np.stack([inputs[self.key(port.role, suffix)] for suffix in port.suffixes])
        return port.give(np.asarray(array), self.axes[port.name]).astype(dtype_of(port.kind))

    def key(self, name: str, suffix: str) -> str:
        """Return what something of a place is called by the cell or the network."""
        return name + suffix if self.graph.cell.places else name

    def _weights(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arrays of the nodes by the names that they have in the graph."""
        cell = self.graph.cell
        found: dict[str, Any] = {}
        of_places = cell.cell if isinstance(cell, Network) else cell
        for unit in self.graph.units:
            suffixes = [suffix if cell.places else "" for suffix in unit.suffixes]
            arrays = arrays_of(unit.operator, of_places, inputs, suffixes)
            own = {which: name for (number, which), name in self.graph.weights.items() if number == unit.number}
            found |= {name: arrays[which] for which, name in own.items()}
        return found

    def _session(self, arrays: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
        """Return the session of the graph with these values of its initialisers; the last one is kept."""
        key = [(name, array.shape, array.tobytes()) for name, array in sorted(arrays.items())]
        if self.kept[0] != key:
            model = ModelProto()
            model.CopyFrom(self.graph.model)
            initial = next(name for name in self.graph.cell.initial)
            _put_in(model, arrays, inputs[initial].shape[-1])
            self.kept = key, _session(model)
        return self.kept[1]

    def outputs(self, inputs: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs by the names of the cell, from what the graph gave."""
        cell = self.graph.cell
        m, s, e = inputs["X"].shape
        sizes = {"m": m, "s": s, "e": e, "u": inputs[cell.initial[0]].shape[-1]}
        values: dict[str, Any] = dict.fromkeys(cell.outputs)
        for port in self.graph.outputs:
            array = port.take(found[port.name], self.axes[port.name], sizes)
            array = np.asarray(array)
            array = array.astype(array_dtype(self.graph.dtype)) if array.dtype.kind == "f" else array
            if port.role == EVERY:
                values["h"] = np.ascontiguousarray(array[:, ::-1]) if self.graph.turned_out else array
            elif np.shape(array) == (len(port.suffixes), m, sizes["u"]):
                values |= {self.key(port.role, suffix): array[k] for k, suffix in enumerate(port.suffixes)}
            else:
                # Of another shape than it had: each of its places is told so.
                values |= {self.key(port.role, suffix): array for suffix in port.suffixes}
        return {name: None if value is None else np.array(value) for name, value in values.items()}

    def call(self, inputs: Mapping[str, Any], sequences: bool = True) -> Any:
        """Return the outputs by name, and a pullback that knows no gradients."""
        return self.outputs(inputs, self.run(inputs)), lambda cotangents: {}


def _put_in(model: ModelProto, arrays: Mapping[str, Any], u: int) -> None:
    """Put other values into initialisers, and say nothing of sizes that may be others now."""
    for tensor in model.graph.initializer:
        if tensor.name in arrays:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField("shape")
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type in GATES and attribute.name == "hidden_size":
                attribute.i = u


def _session(model: ModelProto) -> Any:
    """Return ONNX Runtime's session of a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


_AXES_SAID = "its axes: "


def _target(graph: Graph, name: str) -> Target:
    """Return the target of a model that was read, once it is found out how it is called.

    Raises
    ------
    AdapterError
        "m.onnx cannot be run by onnxruntime 1.32.0: ...", or which of its outputs has another shape than it should.
    """
    way, against = _arranged(graph, _sizes_of(graph), name)
    runner, sizes = way.runner, way.sizes
    # A size that is declared in numbers is one that it has; those of the weights alone may be others.
    numbers = _declared_numbers(graph, runner.axes)
    free = {z for z in "mseu" if z not in numbers and _is_free(runner, sizes, z, way.declared)}
    given = tuple((letter, 0, 0, sizes[letter]) for letter in "mseu" if letter not in free)
    cell = graph.cell
    lacks = {LAST, *cell.gradients, *([] if cell.places else [DHN]), *_not_given(graph)}
    notes = [*graph.notes, *_notes(graph)]
    notes += [_AXES_SAID + way.words, *([against] if against else [])]
    if given:
        notes.append("judged at its own sizes alone: " + " ".join(f"{z}={size}" for z, _, _, size in given))
    target = Target(
        name,
        f"{graph.title}, by onnxruntime {onnxruntime.__version__}",
        runner.call,
        frozenset(lacks),
        (graph.dtype,),
        notes=tuple(notes),
        cell=cell,
        limits=SizeLimits(given=given),
        lengths=LENGTHS if graph.lens and cell.places else (),
    )
    if graph.units[0].operator == "GRU" and graph.dtype == "float32":
        note = (
            f"accepted is {tolerance.ONNX_GRU_ROUNDS:g} times the usual error: ONNX Runtime's GRU has a tanh that rough"
        )
        target = replace(target, rounds=tolerance.ONNX_GRU_ROUNDS, notes=(*target.notes, note))
    if target.lengths and _is_zero_without_steps(runner, sizes):
        # The specification says nothing of it, and it is no doing of the model's.
        note = "not judged at empty lengths: ONNX Runtime's final states of a sample of no steps are zero, not initial"
        lengths = tuple(kind for kind in target.lengths if kind != "empty")
        target = replace(target, lengths=lengths, notes=(*target.notes, note))
    # Whoever does not tell a node the lengths has no convention of padding.
    return target if graph.ignores_lens else with_conventions(target)


def _sizes_of(graph: Graph) -> dict[str, int]:
    """Return e and u as the first layer's weights have them; small ones where these are inputs."""
    first = next(unit for unit in graph.units if unit.layer == 0)
    names = {which: name for (number, which), name in graph.weights.items() if number == first.number}
    dims = {tensor.name: tuple(tensor.dims) for tensor in graph.model.graph.initializer}
    values = {value.name: value for value in graph.model.graph.input}
    for which in ("W", "R"):
        if names[which] not in dims:
            shape = values[names[which]].type.tensor_type.shape.dim
            dims[names[which]] = tuple(dim.dim_value for dim in shape)
    W, R = dims[names["W"]], dims[names["R"]]
    e = W[2] if len(W) == 3 and W[2] else 2
    u = R[2] if len(R) == 3 and R[2] else int(first.said.get("hidden_size", 0)) or 3
    return {"e": e, "u": u}


@dataclass(frozen=True)
class _Way:
    """A way of calling a graph that gives what it should: how, at what sizes, and whether samples hang on no other.

    `tried` is how many sizes it did not run at before: what runs for one sample and one step alone is hardly meant.
    """

    runner: _Runner
    sizes: dict[str, int]
    declared: Declared
    apart: bool
    tried: int

    @property
    def words(self) -> str:
        """The axes of what enters and leaves, in words."""
        graph = self.runner.graph
        return ", ".join(in_words(port, self.runner.axes[port.name]) for port in (*graph.inputs, *graph.outputs))


def _arranged(graph: Graph, base: Mapping[str, int], name: str) -> tuple[_Way, str]:
    """Return how a graph is called, by what it declares and then by what it does, and what speaks against that.

    What is declared comes first: where a graph runs over what it calls samples, it is wrong, and not its names.
    """
    known = arrangements(graph.inputs, Declared(dict(base), {}))
    if not known:
        words = ", ".join(f"{port.name} {port.dims}" for port in graph.inputs)
        raise AdapterError(
            f"{name} cannot be judged: its inputs are {words}, expected X of m, s and e, and states of m and u"
        )
    ways, refused = [], ""
    for axes, declared in known:
        found, said = _ways(graph, axes, declared)
        ways += found
        refused = refused or said
    if not ways:
        raise AdapterError(f"{name} cannot be run by onnxruntime {onnxruntime.__version__}: {_known(graph)}{refused}")
    best = min(ways, key=lambda way: (way.declared.against, way.tried, not way.apart))
    other = next((way for way in ways if way.apart and way.tried == best.tried), None)
    against = "" if best.apart or other is None else f"by what hangs on what its axes are rather {other.words}"
    return best, against


def _known(graph: Graph) -> str:
    """Return what ONNX Runtime is known to have no kernel for, as far as a graph has it, before its own words."""
    operator = graph.units[0].operator
    if any(unit.said.get("layout") for unit in graph.units):
        return f"it has no {operator} with layout=1, expected layout 0 between transposes; "
    if any(tensor.data_type == TensorProto.DOUBLE for tensor in graph.model.graph.initializer):
        return f"it has no {operator} of float64, expected float32; "
    return ""


def _probed(graph: Graph) -> Iterator[dict[str, int]]:
    """Yield numbers of samples and steps to try: first as many samples as initial states that are constants have."""
    dims = {tensor.name: tuple(tensor.dims) for tensor in graph.model.graph.initializer}
    wired = [unit.given[name] for unit in graph.units for name in ("initial_h", "initial_c") if name in unit.given]
    yield from ({"m": dims[name][1], "s": 5} for name in wired[:1] if len(dims.get(name, ())) == 3)
    yield from _PROBED


def _ways(graph: Graph, axes: Mapping[str, Axes], declared: Declared) -> tuple[list[_Way], str]:
    """Return the ways to call a graph whose inputs have these axes, or why there is none."""
    refused = ""
    for tried, probed in enumerate(_probed(graph)):
        sizes = {**probed, **declared.sizes}
        runner, arrays = _Runner(graph, axes), _arrays(graph, sizes)
        try:
            found = runner.run(arrays)
        except Exception as error:
            refused = refused or describe_error(error)
            continue
        ways = []
        for rest, whole in arrangements(graph.outputs, declared):
            own = {**probed, **whole.sizes}
            if all(fits(port, rest[port.name], found[port.name].shape, own) for port in graph.outputs):
                way = replace(runner, axes={**axes, **rest}, kept=(None, None))
                ways.append(_Way(way, sizes, whole, _samples_are_apart(way, arrays), tried))
        shapes = ", ".join(f"{port.name} {found[port.name].shape}" for port in graph.outputs)
        at = " ".join(f"{z}={sizes[z]}" for z in "mseu")
        return ways, f"its outputs are {shapes} for {at}, expected axes of m, s and u"
    return [], refused


def _declared_numbers(graph: Graph, axes: Mapping[str, Axes]) -> set[str]:
    """Return the letters of the sizes that a graph declares in numbers."""
    pairs = [
        (axis, dim)
        for port in (*graph.inputs, *graph.outputs)
        for axis, dim in zip(axes[port.name], port.dims or (), strict=False)
        if isinstance(dim, int)
    ]
    found = {letter for axis, _ in pairs for letter in axis if letter in "mseu"}
    missing = {"m", "s"} - {letter for axes_of in axes.values() for axis in axes_of for letter in axis}
    return found | missing


def _arrays(graph: Graph, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return random inputs of a cell or network."""
    rng = np.random.default_rng(0)
    dims = [sizes[letter] for letter in graph.cell.letters]
    shapes = graph.cell.input_shapes(*dims)
    return {name: rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}


def _samples_are_apart(runner: _Runner, arrays: Mapping[str, Any]) -> bool:
    """Return whether no output of a sample hangs on another sample's input."""
    changed = {**arrays, "X": arrays["X"].copy()}
    changed["X"][0] += 1
    try:
        first, second = (runner.outputs(given, runner.run(given)) for given in (arrays, changed))
    except Exception:
        return False
    m = arrays["X"].shape[0]
    pairs = [(first[name], second[name]) for name in first if first[name] is not None]
    return all(len(a) == m and np.array_equal(a[1:], b[1:]) for a, b in pairs)


def _is_free(runner: _Runner, sizes: Mapping[str, int], letter: str, declared: Declared) -> bool:
    """Return whether a size that is not declared in numbers can be another one.

    A name for it says so, whatever becomes of it; where there is none it is tried out.
    """
    if letter in "ms" and letter in declared.names.values():
        return True
    other = {**sizes, letter: _OTHER[letter] if sizes[letter] != _OTHER[letter] else _OTHER[letter] + 1}
    try:
        arrays = _arrays(runner.graph, other)
        found = runner.run(arrays)
    except Exception:
        return False
    return all(fits(port, runner.axes[port.name], found[port.name].shape, other) for port in runner.graph.outputs)


def _is_zero_without_steps(runner: _Runner, sizes: Mapping[str, int]) -> bool:
    """Return whether the final states of a sample of no steps are zero, though the initial ones are not."""
    arrays = _arrays(runner.graph, sizes)
    lengths = np.full(sizes["m"], sizes["s"])
    lengths[0] = 0
    try:
        given = {**arrays, "lengths": lengths}
        found = runner.outputs(given, runner.run(given))
    except Exception:
        return False
    finals = [value for name, value in found.items() if name != "h" and value is not None]
    states = any(port.role in ("h0", "C0") for port in runner.graph.inputs)
    return bool(finals) and states and not any(value[0].any() for value in finals)


def _not_given(graph: Graph) -> set[str]:
    """Return what a graph does not take or return, as `Target.lacks` has it."""
    cell = graph.cell
    taken: dict[str, set[str]] = {}
    for port in (*graph.inputs, *graph.outputs):
        taken.setdefault(port.role, set()).update(port.suffixes)
    suffixes = [place.suffix for place in cell.places] or ["_l0"]
    own = (lambda name, suffix: name + suffix) if cell.places else (lambda name, suffix: name)
    lacks: set[str] = set()
    missing = [own(role, suffix) for role in ("h0", "C0") for suffix in suffixes if suffix not in taken.get(role, ())]
    missing = [name for name in missing if name in cell.initial]
    lacks |= {STATES} if len(missing) == len(cell.initial) else set(missing)
    finals = [own(role, suffix) for role in ("hn", "Cn") for suffix in suffixes if suffix not in taken.get(role, ())]
    lacks |= {name for name in finals if name in cell.outputs}
    lacks |= {DCN} if CN in lacks else set()
    lacks |= set() if EVERY in taken else {"h"}
    of_places = cell.cell if isinstance(cell, Network) else cell
    for unit in graph.units:
        if (unit.number, "B") not in graph.weights:
            biases = [name for name in of_places.parameters if name[0] in "bc"]
            lacks |= {own(name, suffix) for suffix in unit.suffixes for name in biases}
    return lacks


def _notes(graph: Graph) -> list[str]:
    """Return what is to be said of how a graph is judged."""
    found = []
    if graph.cell.name.startswith("coupled"):
        found.append("input_forget is f = 1 - i: fed with the weights of f for those of i, their signs changed")
    if graph.lens and graph.lens in {tensor.name for tensor in graph.model.graph.initializer}:
        found.append(f"its lengths {graph.lens!r} are an initialiser, and set as its weights are")
    if graph.ignores_lens:
        found.append(f"its lengths {graph.lens!r} are told to no node, or not to all")
    return found
