"""Weights carried over are run by the framework itself, and give what the reference gives: every cell, in stacks."""

import re

import numpy as np
import pytest

from lstm_checks.targets.adapters import ADAPTERS
from lstm_checks.weights.carrying import to_framework
from lstm_ref.cells import cell_named

pytestmark = pytest.mark.peer

M, S, E, U, P = 2, 3, 4, 5, 3


def case(network, dtype="float64"):
    """Return parameters, inputs and what is due of h."""
    net = cell_named(network)
    rng = np.random.default_rng(7)
    sizes = (M, S, E, U, P)[: 4 + ("p" in net.letters)]
    p = {name: rng.standard_normal(net.shape(name, *sizes)).astype(dtype) for name in net.parameters}
    X = rng.standard_normal((M, S, E)).astype(dtype)
    initial = [np.zeros(net.shape(name, *sizes), dtype) for name in net.initial]
    return p, X, net.outputs_of(net.forward(p, X, *initial))["h"]


def assert_equal(came, due):
    assert came.shape == due.shape
    assert np.allclose(came, due, rtol=0, atol=1e-5 if due.dtype == np.float32 else 1e-13), np.abs(came - due).max()


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("plain@2xboth", {}),
        ("projected@2xboth", {"proj_size": P}),
        ("gru_reset_after@2xboth", {}),
        ("rnn@3xforward", {}),
    ],
)
def test_pytorch(network, options):
    torch = pytest.importorskip("torch")
    p, X, due = case(network)
    net = cell_named(network)
    kinds = {"gru_reset_after": torch.nn.GRU, "rnn": torch.nn.RNN}
    kind = kinds.get(net.cell.name, torch.nn.LSTM)
    layer = kind(
        E, U, net.layers, bidirectional=len(net.directions) > 1, batch_first=True, dtype=torch.float64, **options
    )
    layer.load_state_dict(to_framework({name: torch.from_numpy(value) for name, value in p.items()}, "torch"))
    assert_equal(layer(torch.from_numpy(X))[0].detach().numpy(), due)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("network", ["plain@2xboth", "gru@2xsum", "gru_reset_after@2xboth", "rnn@2xforward"])
def test_keras(network):
    # Before it is imported it is to be known on what it runs.
    next(one for one in ADAPTERS if one.name == "keras").prepare()
    keras = pytest.importorskip("keras")
    p, X, due = case(network, "float32")
    net = cell_named(network)
    make = {
        "plain": keras.layers.LSTM,
        "gru": lambda *args, **named: keras.layers.GRU(*args, reset_after=False, **named),
        "gru_reset_after": keras.layers.GRU,
        "rnn": keras.layers.SimpleRNN,
    }[net.cell.name]
    arrays, out = to_framework(p, "keras"), X
    names = ("kernel", "recurrent_kernel", "bias")
    for layer in net.by_layer:
        one = make(U, return_sequences=True)
        one = keras.layers.Bidirectional(one, merge_mode=net.join) if len(layer) > 1 else one
        one.build(out.shape)
        tags = ["" if place.suffix == "_l0" else f"{place.suffix[1:]}." for place in layer]
        one.set_weights([arrays[tag + name] for tag in tags for name in names])
        out = one(keras.ops.convert_to_tensor(out))
    assert_equal(keras.ops.convert_to_numpy(out), due)


@pytest.mark.parametrize(
    ("network", "operator", "options"),
    [
        ("peephole@1xboth", "LSTM", {}),
        ("plain@2xboth", "LSTM", {}),
        ("gru@2xboth", "GRU", {"linear_before_reset": 0}),
        ("gru_reset_after@1xboth", "GRU", {"linear_before_reset": 1}),
        ("rnn@2xforward", "RNN", {}),
    ],
)
def test_onnx_runtime(network, operator, options):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    helper = onnx.helper
    p, X, due = case(network, "float32")
    net = cell_named(network)
    arrays = to_framework(p, "onnx")
    both = len(net.directions) > 1
    nodes, came = [], "X"
    for layer in range(net.layers):
        tag = f"l{layer}." if layer else ""
        peepholes = ["", "", "", f"{tag}P"] if f"{tag}P" in arrays else []
        inputs = [came, *(f"{tag}{name}" for name in "WRB"), *peepholes]
        direction = "bidirectional" if both else "forward"
        nodes += [
            helper.make_node(operator, inputs, [f"Y{layer}"], hidden_size=U, direction=direction, **options),
            helper.make_node("Transpose", [f"Y{layer}"], [f"T{layer}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"T{layer}", "shape"], [f"h{layer}"]),
        ]
        came = f"h{layer}"
    shape = onnx.numpy_helper.from_array(np.array([0, 0, -1]), "shape")
    graph = helper.make_graph(
        nodes,
        "stack",
        [helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, (S, M, E))],
        [helper.make_tensor_value_info(came, onnx.TensorProto.FLOAT, None)],
        [shape, *(onnx.numpy_helper.from_array(value, name) for name, value in arrays.items())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString())
    (h,) = session.run(None, {"X": np.ascontiguousarray(X.swapaxes(0, 1))})
    assert_equal(h.swapaxes(0, 1), due)


def layer_by_layer(network, layout, step, dtype="float32"):
    """Assert that a step of one cell, its arrays by name, over the layers of a network that runs forward is right."""
    p, X, due = case(network, dtype)
    arrays = to_framework(p, layout)
    out = X
    for layer in range(cell_named(network).layers):
        own = {
            re.sub(r"^l\d+\.", "", name): array
            for name, array in arrays.items()
            if (re.match(r"l\d+\.", name) or ["l0."])[0] == f"l{layer}."
        }
        out = step(own, out)
    assert_equal(np.asarray(out), due)


def nested(arrays):
    """Return arrays by their names' parts."""
    tree: dict = {}
    for name, array in arrays.items():
        *path, last = name.split(".")
        inner = tree
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = array
    return tree


@pytest.mark.parametrize(
    ("network", "name"), [("gru_reset_after@2xforward", "GRUCell"), ("rnn@2xforward", "SimpleCell")]
)
def test_flax_linen(network, name):
    linen = pytest.importorskip("flax.linen")

    def step(own, out):
        cell, h, every = getattr(linen, name)(features=U, parent=None), np.zeros((M, U), np.float32), []
        for s in range(S):
            h, _ = cell.apply({"params": nested(own)}, h, out[:, s])
            every.append(h)
        return np.stack(every, axis=1)

    layer_by_layer(network, "flax-linen", step)


def test_flax_nnx_simple_cell():
    nnx = pytest.importorskip("flax.nnx")

    def step(own, out):
        cell = nnx.SimpleCell(out.shape[-1], U, rngs=nnx.Rngs(0))
        for path, array in own.items():
            part, kind = path.split(".")
            getattr(cell, part).__dict__[kind][...] = array
        h, every = np.zeros((M, U), np.float32), []
        for s in range(S):
            h, _ = cell(h, out[:, s])
            every.append(h)
        return np.stack(every, axis=1)

    layer_by_layer("rnn@2xforward", "flax", step)


def test_equinox_gru():
    equinox = pytest.importorskip("equinox")
    import jax

    def step(own, out):
        cell = equinox.nn.GRUCell(out.shape[-1], U, key=jax.random.key(0))
        for name, array in own.items():
            cell = equinox.tree_at(lambda c, name=name: getattr(c, name), cell, jax.numpy.asarray(array))
        h, every = np.zeros((M, U), np.float32), []
        for s in range(S):
            h = jax.vmap(cell)(out[:, s], h)
            every.append(h)
        return np.stack(every, axis=1)

    layer_by_layer("gru_reset_after@2xforward", "equinox", step)


@pytest.mark.parametrize(
    ("network", "name", "module"),
    [
        ("plain@2xforward", "LSTM", "core/linear"),
        ("gru@2xforward", "GRU", "core"),
        ("rnn,g=relu@2xforward", "VanillaRNN", "core/"),
    ],
)
def test_haiku(network, name, module):
    haiku = pytest.importorskip("haiku")

    def step(own, out):
        def run(x):
            core = getattr(haiku, name)(U, name="core")
            return haiku.dynamic_unroll(core, x, core.initial_state(M))[0]

        params = {module + part: arrays for part, arrays in nested(own).items()} if module[-1] == "/" else {module: own}
        return np.swapaxes(haiku.without_apply_rng(haiku.transform(run)).apply(params, np.swapaxes(out, 0, 1)), 0, 1)

    layer_by_layer(network, "haiku", step)


@pytest.mark.parametrize("network", ["plain@2xforward", "gru_reset_after@2xforward", "rnn@2xforward"])
def test_mlx(network):
    nn = pytest.importorskip("mlx.nn")
    import mlx.core as mx

    kind = {"plain": nn.LSTM, "gru_reset_after": nn.GRU, "rnn": nn.RNN}[cell_named(network).cell.name]

    def step(own, out):
        layer = kind(out.shape[-1], U)
        layer.update({name: mx.array(value) for name, value in own.items()})
        found = layer(mx.array(np.asarray(out)))
        return np.array(found[0] if isinstance(found, tuple) else found)

    layer_by_layer(network, "mlx", step)
