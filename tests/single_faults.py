"""Ten faults that show in float32 alone: as they are written for accelerators, planted in the reference.

They are in no catalogue: in float64 each of them is right to the last bit.
"""

from lstm_checks.faults.model import Fault, in_activations, in_backward, in_forward, in_gradients

GATES = "figo"
TANH, SIGMOID = "    return np.tanh(x)\n", "    return 0.5 * (1 + np.tanh(0.5 * x))\n"
DU, DV = "np.sum(X.mT @ dk_, axis=-3)", "np.sum(hp.mT @ dk_, axis=-3)"
DB = "np.sum(np.sum(dk_, axis=-2), axis=-2)[..., np.newaxis, :]"


def cut(value, bits):
    """The text of a float32 array with so many of its 23 stored bits, the rest cut off; others as they are."""
    mask = (0xFFFFFFFF << (23 - bits)) & 0xFFFFFFFF
    return (
        f"(np.ascontiguousarray({value}).view(np.uint32) & np.uint32({mask})).view(np.float32)"
        f" if {value}.dtype == np.float32 else {value}"
    )


def in_single(expression, otherwise, value="x"):
    return f"    return ({expression}) if {value}.dtype == np.float32 else ({otherwise})\n"


def fault(id, *patches):
    return Fault(id, "single", f"{id}.", "(1): in float32 alone.", patches)


FAULTS = (
    fault("tf32-input-product", *(in_forward(f'X_s @ p["U{k}"]', f'({cut("X_s", 10)}) @ p["U{k}"]') for k in GATES)),
    fault("tf32-recurrent-product", *(in_forward(f'hp @ p["V{k}"]', f'({cut("hp", 10)}) @ p["V{k}"]') for k in GATES)),
    fault("tf32-weight-gradients", in_gradients(DV, f"np.sum(hp.mT @ ({cut('dk_', 10)}), axis=-3)")),
    fault(
        "table-of-tanh",
        in_activations(
            TANH,
            in_single("np.interp(x, T := np.linspace(-8, 8, 4097), np.tanh(T)).astype(np.float32)", "np.tanh(x)"),
        ),
    ),
    fault(
        "fast-exp",
        in_activations(
            SIGMOID,
            # 2^x by the exponent's bits and a polynomial of third order in the rest: relative error 1e-4.
            in_single(
                "1 / (1 + np.ldexp(np.float32(1) + (r := (y := -x * np.float32(1.442695)) - np.floor(y)) * "
                "(np.float32(0.69562) + r * (np.float32(0.22607) + r * np.float32(0.07831))), "
                "np.clip(np.floor(y), -120, 120).astype(int)))",
                "0.5 * (1 + np.tanh(0.5 * x))",
            ),
        ),
    ),
    fault(
        "approximate-reciprocal",
        in_activations(
            SIGMOID,
            # 12 bits, as an SSE reciprocal without the Newton step.
            in_single(
                "(np.ascontiguousarray(np.float32(1) / (1 + np.exp(-np.clip(x, -80, 80)))).view(np.uint32)"
                " & np.uint32(0xFFFFF800)).view(np.float32)",
                "0.5 * (1 + np.tanh(0.5 * x))",
            ),
        ),
    ),
    fault(
        "half-accumulator-of-biases",
        in_gradients(
            DB,
            f"({DB} if dk_.dtype != np.float32 else "
            "np.sum(np.sum(dk_, axis=-2), axis=-2)[..., np.newaxis, :].astype(np.float16).astype(np.float32))",
        ),
    ),
    fault(
        "bfloat16-hidden-cache",
        in_gradients('hp = _steps_first(fc["hp"])', f'hp = fc["hp"]\n    hp = _steps_first({cut("hp", 7)})'),
    ),
    fault("bfloat16-carry", in_backward("        dhn, dCn = dh, dC\n", f"        dhn, dCn = dh, {cut('dC', 7)}\n")),
    fault(
        "half-memory",
        in_forward(
            "C_ = f * Cp_ + i * g  # (6)",
            "C_ = f * Cp_ + i * g  # (6)\n        "
            "C_ = C_.astype(np.float16).astype(np.float32) if C_.dtype == np.float32 else C_",
        ),
    ),
)
