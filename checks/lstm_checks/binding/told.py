"""What was found out about a layer, in words."""

from lstm_checks.binding.backward import Backward
from lstm_checks.binding.forward import Forward
from lstm_checks.binding.problem import BATCH, SAMPLE, STEP
from lstm_checks.words import series

_OVER = {
    BATCH: "",
    SAMPLE: ", one sample a call",
    STEP: ", one step a call",
    "": ", one step of one sample a call",
}


def describe(found: Forward, back: Backward | None, library: str = "np") -> list[str]:
    """Return what a binding is, one sentence a line."""
    axes = ", ".join(found.call.x_axes)
    lines = [f"found by trying: {found.call.text}, X as ({axes}){_OVER[found.call.over]}"]
    lines += [f"its weights {_weights(found)}"]
    if found.reading.forget:
        lines.append("it adds 1 to the forget gate at run time, which its own weights are given without")
    lines += found.told
    if not found.exact and not found.told:
        lines.append("in no reading is its forward pass the reference's; this is the nearest, judged as it is")
    if library != "np":
        lines.append(f"its gradients by {library.replace('jnp', 'jax')}")
    elif back is None:
        lines.append("no backward pass was found; judged forward only")
    else:
        lines.append(f"its gradients by {back.text}")
        lines += _missing(found, back)
    return lines


def _weights(found: Forward) -> str:
    """Return where the weights are and in which order their gates, in words."""
    layout = found.reading.layout
    joined = [block for block in layout.blocks if len(block.gates) > 1]
    words = []
    if joined:
        words.append(f"have the gates in the order {' '.join(joined[0].gates)}, which is this layer's own")
    else:
        gates = {block.gates: block.name for block in reversed(layout.blocks) if "U" in block.kinds}
        words.append("are " + series([f"{gates[gate]} (gate {gate})" for gate in "figo"]))
    several = next((block for block in layout.blocks if len(block.kinds) > 1), None)
    if several is not None:
        said = {"U": "those of x", "V": "those of h", "b": "the bias"}
        words.append(f"{several.name} holds {series([said[kind] for kind in several.kinds], 'then')}")
    return ", ".join(words)


def _missing(found: Forward, back: Backward) -> list[str]:
    """Return which gradients were not found."""
    missing = [block.name for block in found.reading.layout.blocks if block.name not in back.of_slots]
    missing += [name for name in ("X", *found.call.given) if f"d{name}" not in back.of_inputs]
    turned = [name for name, one in back.of_slots.items() if one.told]
    lines = [f"no gradient of {series(missing)} was found"] if missing else []
    return lines + ([f"the gradient of {series(turned)} comes transposed"] if turned else [])
