"""One cell's parameters in the arrays of one layout, and back; `carrying.py` chooses the layout, and knows of stacks.

The arrays may be NumPy's, JAX's or PyTorch's, in a function that is traced or differentiated, too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lstm_checks.weights.layouts import (
    COLUMNS,
    OWN_SECOND,
    ROWS,
    SECOND,
    Array,
    Block,
    Layout,
    LayoutError,
    find_layout,
    twin,
)
from lstm_checks.weights.namespace import as_array, is_floating, namespace


def pack(p: Mapping[str, Any], layout: Layout) -> dict[str, Array]:
    """Return the arrays of a layout, from the parameters that it holds, by name.

    Where there are two biases that are only added the first holds all of it and the second is zero, so that the sum is
    exact. Where the framework adds to the forget gate at run time, that is taken off first (which may round).

    Raises
    ------
    LayoutError
        "Vf has shape (3, 2), expected (u, u) = (3, 3)".
    """
    values = {name: as_array(value) for name, value in p.items()}
    check_arrays(values, named_like(layout, layout.parameters))
    for gate in layout.cell.gates:
        if f"b{gate}" in values:
            bias = values[f"b{gate}"]
            values[SECOND + gate] = values.get(OWN_SECOND + gate, namespace(bias).zeros_like(bias))
    values = _signed(values, layout)
    if layout.forget_bias:
        values["bf"] = values["bf"] - layout.forget_bias
    arrays = {block.name: block.pack(values) for block in layout.blocks}
    if not layout.flat:
        return arrays
    parts = [array.reshape(-1) for array in arrays.values()]
    return {"weights": namespace(parts[0]).concatenate(parts, axis=0)}


def unpack(arrays: Mapping[str, Any], layout: Layout, *, units: int | None = None) -> dict[str, Array]:
    """Return the parameters that a layout holds by name, from its arrays, no more and no fewer.

    Two biases that are only added are one, which rounds once; what the framework adds to the forget gate at run time is
    added, too.

    Raises
    ------
    LayoutError
        "weight_hh_l0 is missing, expected (4u, u) = (12, 3)"; or what is too many, or ill-shaped.
    """
    values = _unpack(arrays, layout, units)
    for gate in layout.cell.gates:
        second = values.get(SECOND + gate)
        if second is not None and layout.has_own_second(gate):
            values[OWN_SECOND + gate] = second
        elif second is not None:
            values["b" + gate] = values["b" + gate] + second
    if layout.forget_bias:
        values["bf"] = values["bf"] + layout.forget_bias
    return {name: values[name] for name in layout.parameters}


def unpack_gradients(arrays: Mapping[str, Any], layout: Layout, *, units: int | None = None) -> dict[str, Array]:
    """Return the gradients of the parameters that a layout holds, from those of its arrays.

    The gradient of each of two biases is that of their sum: the first is db, the second comes by its own name, a key of
    `Layout.twins`, and must equal it.
    """
    values = _unpack(arrays, layout, units)
    second = [(block, gate) for block in layout.blocks if SECOND in block.kinds for gate in block.gates]
    own = {OWN_SECOND + gate: values[SECOND + gate] for _, gate in second if layout.has_own_second(gate)}
    found = {f"d{name}": {**values, **own}[name] for name in layout.parameters}
    twins = {twin(gate, block.name): values[SECOND + gate] for block, gate in second}
    return found | {name: value for name, value in twins.items() if name in layout.twins}


def _signed(values: dict[str, Array], layout: Layout) -> dict[str, Array]:
    """Return values with the signs that the framework has, which is its own inverse."""
    return {name: -value if name[-1] in layout.negated else value for name, value in values.items()}


def _unpack(arrays: Mapping[str, Any], layout: Layout, units: int | None) -> dict[str, Array]:
    """Return the values by kind and gate, once the arrays are seen to fit."""
    found = {name: as_array(value) for name, value in arrays.items()}
    e, u = check_arrays(found, layout, units)
    if layout.flat:
        found = _cut(found["weights"], layout, e, u)
    values: dict[str, Array] = {}
    for block in layout.blocks:
        values |= block.unpack(found[block.name], e, u, _projected(found, layout))
    return _signed(values, layout)


def named_like(layout: Layout, parameters: Iterable[str]) -> Layout:
    """Return the layout of this project's own arrays that holds some parameters of another one's cell."""
    blocks = []
    for name in parameters:
        gated = name[-1] in layout.cell.gates
        kind = name[:-1] if gated else name
        # A second bias that is a parameter is called so in every layout.
        blocks.append(Block(name, (SECOND if kind == OWN_SECOND else kind,), name[-1] if gated else "", COLUMNS))
    return replace(find_layout("named"), blocks=tuple(blocks), cell=layout.cell)


def _projected(arrays: Mapping[str, Array], layout: Layout) -> int | None:
    """Return p as the projection's own array has it; None where there is none."""
    for block in layout.blocks if layout.projects else ():
        if "P" in block.kinds and block.name in arrays and arrays[block.name].ndim == 2:
            return int(arrays[block.name].shape[0 if block.form == ROWS else 1])
    return None


def _cut(flat: Array, layout: Layout, e: int, u: int) -> dict[str, Array]:
    """Return the arrays that follow each other in one."""
    found, start = {}, 0
    for block in layout.blocks:
        shape = block.shape(e, u)
        size = int(np.prod(shape))
        found[block.name] = flat[start : start + size].reshape(shape)
        start += size
    return found


def check_arrays(arrays: Mapping[str, Array], layout: Layout, units: int | None = None) -> tuple[int, int]:
    """Return (e, u) if the arrays are those of the layout.

    Raises
    ------
    LayoutError
        Naming every array that is missing, too many, of a wrong shape, or not of real numbers.
    """
    for name, what in (layout.refused or {}).items():
        if name in arrays and bool((arrays[name] != 0).any()):
            raise LayoutError(
                f"{name} holds {what}, which a plain LSTM has not; layout {layout.name} without it is expected"
            )
    arrays = {name: array for name, array in arrays.items() if name not in (layout.refused or {})}
    wrong = [
        f"{name} has dtype {a.dtype}, expected floating point" for name, a in arrays.items() if not is_floating(a.dtype)
    ]
    if len({a.dtype for a in arrays.values()}) > 1:
        wrong.append("arrays of one dtype expected, got " + ", ".join(f"{n} {a.dtype}" for n, a in arrays.items()))
    e, u = _sizes(arrays, layout, units)
    formulas = {block.name: block.in_letters("p" if layout.projects else "u") for block in layout.blocks}
    for name, shape in layout.shapes(e or 1, u or 1, _projected(arrays, layout)).items():
        due = formulas.get(name, "(size,)") + (f" = {shape}" if e and u else "")
        if name not in arrays:
            wrong.append(f"{name} is missing, expected {due}")
        elif not (e and u) or tuple(arrays[name].shape) != shape:
            wrong.append(f"{name} has shape {tuple(arrays[name].shape)}, expected {due}")
    extra = sorted(set(arrays) - set(layout.names))
    wrong += [f"{name} is none of layout {layout.name}'s arrays, {', '.join(layout.names)}" for name in extra]
    if wrong:
        raise LayoutError("; ".join(wrong))
    assert e
    assert u
    return e, u


def _sizes(arrays: Mapping[str, Array], layout: Layout, units: int | None) -> tuple[int | None, int | None]:
    """Return e and u as the arrays have them; None where they do not tell."""
    if layout.flat:
        return _flat_sizes(arrays, layout, units)
    u = units
    for kind in ("V", "b", "U"):  # of V it is the columns that tell, whatever the rows
        for block in layout.blocks:
            if u is None and kind in block.kinds and block.name in arrays:
                u = block.units(arrays[block.name].shape)
    block = next(block for block in layout.blocks if "U" in block.kinds)
    if u is None or block.name not in arrays or len(arrays[block.name].shape) != len(block.shape(1, 1)):
        return None, u
    rows = arrays[block.name].shape[block.lead :][1 if block.form == ROWS else 0]
    e = rows - u if "V" in block.kinds else rows
    return (e if e > 0 else None), u


def _flat_sizes(arrays: Mapping[str, Array], layout: Layout, units: int | None) -> tuple[int | None, int | None]:
    """Return e and u of a single flat array, whose size leaves u open."""
    if units is None:
        raise LayoutError(f"layout {layout.name} is one flat array, which does not tell u: say units")
    if "weights" not in arrays:
        return None, units
    (size_1,), (size_2,) = layout.shapes(1, units)["weights"], layout.shapes(2, units)["weights"]
    e, rest = divmod(int(np.prod(arrays["weights"].shape)) - size_1, size_2 - size_1)
    return (e + 1 if rest == 0 and e >= 0 else None), units
