"""The LSTM of `jax.experimental.rnn`: `lstm-checks verify examples/jax_rnn.py:lstm --layers 2 --bidirectional`.

Its `lstm` is cuDNN's, of float32, and its weights are one flat array. Where no GPU is there its `lstm_ref` is taken,
which is what `lstm` says it computes, in JAX's own operations, and with the same weights. So what is judged is where a
parameter lies in the flat array, how states are stacked, and on a GPU cuDNN.
"""

import jax
import jax.numpy as jnp
from jax.experimental import rnn


def places(p):
    """Return what the names of parameters end in, layer by layer, and the direction back after that there."""
    return sorted(name.removeprefix("Uf") for name in p if name.startswith("Uf"))


def flat(p):
    """Return the weights in one: (W_ih, W_hh) of every place, then (b_ih, b_hh), all with the gates i f g o."""
    stacked = lambda kind, at: jnp.concatenate([p[kind + gate + at] for gate in "ifgo"], axis=1).T  # noqa: E731
    linear = [stacked(kind, at) for at in places(p) for kind in "UV"]
    # It has two biases, which are only added: the second is zero.
    biases = [bias for at in places(p) for bias in (stacked("b", at), jnp.zeros_like(stacked("b", at)))]
    return jnp.concatenate([array.reshape(-1) for array in linear + biases])


def lstm(p, X, states, lengths):
    """Return h of every step and the final states, by name."""
    ends = places(p)
    both = any(end.endswith("_reverse") for end in ends)
    e, u, layers = X.shape[-1], p["Vf" + ends[0]].shape[0], len(ends) // (2 if both else 1)
    h0, C0 = (jnp.stack([states[kind + end] for end in ends]) for kind in ("h0", "C0"))
    lengths = jnp.asarray(lengths, "int32")
    if jax.default_backend() == "gpu":
        h, hn, Cn = rnn.lstm(X, h0, C0, flat(p), lengths, e, u, layers, 0.0, both)
    else:
        weights = rnn.unpack_lstm_weights(flat(p), e, u, layers, both)
        h, hn, Cn = rnn.lstm_ref(X, h0, C0, *weights, lengths, e, u, layers, 0.0, both)
    # Of a sample of no steps it has the states after the last padded one, where those it began with are due.
    hn, Cn = (jnp.where(lengths[:, None] > 0, end, start) for end, start in ((hn, h0), (Cn, C0)))
    final = {f"hn{end}": hn[k] for k, end in enumerate(ends)} | {f"Cn{end}": Cn[k] for k, end in enumerate(ends)}
    return {"h": h, **final}
