"""The adapter of a layer as text: a function in the vjp form, short enough to be read, kept and changed."""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import replace

from lstm_checks.binding.again import Kept
from lstm_checks.binding.backward import Backward
from lstm_checks.binding.forward import Forward
from lstm_checks.binding.problem import BATCH, SAMPLE, STEP
from lstm_checks.weights.layouts import COLUMNS, ROWS, SECOND, SPLIT, STACKED, VECTOR, Block

NAME = "target"
"""What the function is called."""

KEEPS_NOTHING = Kept()
"""Of a layer that is made anew for each call."""

ONE = "one_call"
"""What the function of a single step or sample is called."""


def packed(block: Block) -> str:
    """Return the text of one of a layer's own arrays, from the parameters in p by name."""
    if set(block.kinds) == {SECOND}:
        return f"0 * {packed(Block(block.name, ('b',), block.gates, block.form))}"
    kinds, gates = "".join(block.kinds), block.gates
    if len(gates) == 1:
        rows = [f'p["{kind}{gates}"]' for kind in kinds]
        matrix = rows[0] if len(rows) == 1 else f"np.vstack([{', '.join(rows)}])"
    elif block.form == STACKED:
        inner = f'np.vstack([p[n + k] for n in "{kinds}"])' if len(kinds) > 1 else f'p["{kinds}" + k]'
        return f'np.stack([{inner} for k in "{gates}"])'
    elif block.form == SPLIT and block.is_bias:
        return f'np.vstack([p["b" + k] for k in "{gates}"])'
    elif len(kinds) == 1:
        matrix = f'np.hstack([p["{kinds}" + k] for k in "{gates}"])'
    else:
        matrix = f'np.vstack([np.hstack([p[n + k] for k in "{gates}"]) for n in "{kinds}"])'
    return matrix + {ROWS: ".T", VECTOR: ".reshape(-1)", SPLIT: f".reshape(-1, {len(gates)}, u)"}.get(block.form, "")


def unpacked(block: Block, text: str) -> str:
    """Return the line that puts a gradient of one of a layer's own arrays into g by name."""
    tail = f" of {block.name}" if SECOND in block.kinds else ""
    tail = tail.replace('"', "'")
    kinds = ["b" if kind == SECOND else kind for kind in block.kinds]
    sizes = {"U": "e", "V": "u", "b": "1"}
    cuts = ", ".join(" + ".join(sizes[kind] for kind in kinds[: k + 1]) for k in range(len(kinds) - 1))
    matrix = {
        COLUMNS: text,
        ROWS: text[:-2] if text.endswith(".T") else f"{text}.T",
        VECTOR: f"{text}.reshape(1, -1)",
        SPLIT: f"{text}.reshape({'1' if block.is_bias else 'len(' + text + ')'}, -1)",
        STACKED: text,
    }[block.form]
    if len(block.gates) == 1:
        names = [f'"d{kind}{block.gates}{tail}"' for kind in kinds]
        if len(names) == 1:
            return f"g[{names[0]}] = {matrix}"
        return f"g |= zip(({', '.join(names)}), np.vsplit({matrix}, [{cuts}]))"
    count = len(block.gates)
    parts = matrix if block.form == STACKED else f"np.hsplit({matrix}, {count})"
    if len(kinds) == 1:
        names = [f'"d{kinds[0]}{gate}{tail}"' for gate in block.gates]
        return f"g |= zip(({', '.join(names)}), {parts})"
    if block.form == STACKED:
        kept = "".join(kinds)
        return (
            f'for k, part in zip("{block.gates}", {matrix}):\n'
            f'    g |= zip([f"d{{n}}{{k}}" for n in "{kept}"], np.vsplit(part, [{cuts}]))'
        )
    return (
        f'for n, part in zip("{"".join(kinds)}", np.vsplit({matrix}, [{cuts}])):\n'
        f'    g |= zip([f"d{{n}}{{k}}" for k in "{block.gates}"], np.hsplit(part, {count}))'
    )


def function(found: Forward, back: Backward | None, library: str = "np", kept: Kept = KEEPS_NOTHING) -> str:
    """Return the adapter's function and what it needs, without its imports."""
    one = NAME if found.call.over == BATCH else ONE
    taken = states_of(found)
    lines = [f"def {one}({', '.join(('p', 'X', *taken))}):"]
    body = _forward_lines(found, kept)
    memory = found.memory or "None"
    if library != "np":
        body += ["", f"return {found.h}, {memory}"]
    elif back is None:
        body += [f"h = {found.h}", f"return (h, {memory}), lambda *cotangents: {{}}"]
    else:
        body += [f"h, Cn = {found.h}, {memory}", "", *_pullback(found, back, kept), "", "return (h, Cn), pullback"]
    lines += [f"    {line}".rstrip() for text in body for line in text.split("\n")]
    if _sizes_used("\n".join(lines)):
        lines.insert(1, '    (m, s, e), u = X.shape, p["Vf"].shape[0]')
    decorated = _lacks(found, back)
    head = [decorated] if decorated else []
    if one == NAME:
        return "\n".join([*(["layers = {}", "", ""] if kept.once else []), *head, *lines])
    run = {STEP: f"by_step({ONE})", SAMPLE: f"by_sample({ONE})"}.get(found.call.over, f"by_sample(by_step({ONE}))")
    arguments = ", ".join(("p", "X", *taken))
    return "\n".join([*lines, "", "", *head, f"def {NAME}({arguments}):", f"    return {run}({arguments})"])


def states_of(found: Forward) -> tuple[str, ...]:
    """Return the initial states that the adapter takes."""
    return tuple(name for name in ("h0", "C0") if name in found.call.given)


def _forward_lines(found: Forward, kept: Kept) -> list[str]:
    """Return the lines of the forward pass."""
    blocks = {block.name: block for block in found.reading.layout.blocks}
    lines = []
    if found.reading.forget:
        lines.append('p = {**p, "bf": p["bf"] - 1}  # it adds 1 to the forget gate itself')
    setup, call = found.setup, found.call.text
    if kept.once:
        (made,) = (line.removeprefix("layer = ") for line in setup.make)
        # By all that it may be made of, as one that is made anew would be.
        key = ", ".join([letter for letter in "mseu" if _sizes_used(made, letter)] + ["X.dtype"])
        lines += [f"if ({key}) not in layers:", f"    layers[{key}] = {made}"]
        setup = replace(setup, make=(f"layer = layers[{key}]",))
    if kept.bare and found.call.given:
        given = " or ".join(f"{state}.any()" for state in found.call.given)
        call = f"{call} if {given} else {found.call.bare}"
    lines += setup.lines(lambda name: packed(blocks[name]))
    return [*lines, *found.call.before, f"out = {call}"]


def _pullback(found: Forward, back: Backward, kept: Kept) -> list[str]:
    """Return the lines of the pullback."""
    wrapped = found.call.over != BATCH
    takes = "dh, dCn=None" if wrapped and "dCn" not in back.takes else ", ".join(back.takes)
    lines = [f"def pullback({takes}):"]
    inner = [*back.before, f"got = {back.text}" if back.uses_got else back.text]
    named = [f'"{name}": {gradient.text}' for name, gradient in back.of_inputs.items()]
    inner.append(f"g = {{{', '.join(named)}}}")
    for block in found.reading.layout.blocks:
        if block.name in back.of_slots:
            inner += unpacked(block, back.of_slots[block.name].text).split("\n")
    # The arrays of a layer that goes on are its own.
    inner.append("return {name: np.array(value) for name, value in g.items()}" if kept.once else "return g")
    return lines + [f"    {line}" for line in inner]


def _sizes_used(text: str, letters: str = "mseu") -> bool:
    """Return whether a text uses sizes of some letters that it does not set itself."""
    names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name) and node.id in [*letters]]
    used, own = ({one.id for one in names if isinstance(one.ctx, kind)} for kind in (ast.Load, ast.Store))
    return bool(used - own)


def _lacks(found: Forward, back: Backward | None) -> str:
    """Return the decorator that says what the layer does not have, where calls do not show it."""
    words = [] if any("b" in block.kinds for block in found.reading.layout.blocks) else ["biases"]
    if back is not None and "dCn" not in back.takes and found.call.over != BATCH:
        words.append("dCn")
    return f"@lacks({', '.join(map(repr, words))})".replace("'", '"') if words else ""


def imports(function_text: str, names: Sequence[str], module: str, folder: str = "", library: str = "np") -> str:
    """Return the import lines of an adapter."""
    third = {"np": "import numpy as np", "torch": "import torch", "jnp": "import jax.numpy as jnp"}
    lines = [third[library]] if f"{library}." in function_text else []
    if "SimpleNamespace(" in function_text:
        lines.insert(0, "from types import SimpleNamespace\n")
    ours = [name for name in ("by_sample", "by_step", "lacks") if f"{name}(" in function_text]
    if ours:
        lines.append(f"from lstm_checks import {', '.join(ours)}")
    if folder:
        lines = ["import sys", "", *lines, "", f"sys.path.insert(0, {json.dumps(folder)})  # where {module}.py is"]
    used = sorted(name for name in names if re.search(rf"\b{re.escape(name)}\b", function_text))
    return "\n".join([*lines, f"from {module} import {', '.join(used)}"])
