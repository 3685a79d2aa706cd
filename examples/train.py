"""Train an LSTM on the adding problem: of two marked numbers in a sequence, give the sum. Ends with a picture.

``pip install -e '.[docs]'``, then ``python examples/train.py`` writes adding.png.
"""

import numpy as np

from lstm_fast import LSTM, Adam

rng = np.random.default_rng(0)


def batch(samples, steps=30):
    """Return sequences (m, s, 2) of a number and a mark each, and the sums (m, 1)."""
    numbers, marks = rng.uniform(size=(samples, steps)), np.zeros((samples, steps))
    for mark in marks:
        mark[rng.choice(steps, size=2, replace=False)] = 1
    return np.stack([numbers, marks], axis=-1), np.sum(numbers * marks, axis=1, keepdims=True)


layer = LSTM(32, rng=1)
layer.initialize_parameters(elements=2)
layer.p["bf"] += 1
head = {"W": rng.standard_normal((32, 1)) / 32, "c": np.zeros((1, 1))}
optimizers = Adam(layer.p, rate=0.005), Adam(head, rate=0.005)
losses = []
for _ in range(1500):
    X, due = batch(64)
    h = layer.forward(X)
    error = h @ head["W"] + head["c"] - due
    losses.append(np.mean(np.square(error)))
    dy = 2 * error / len(X)
    layer.backward(dy @ head["W"].T)
    layer.compute_gradients()
    optimizers[0].step(layer.g)
    optimizers[1].step({"dW": h.T @ dy, "dc": dy.sum(axis=0, keepdims=True)})

print(f"mean squared error {np.mean(losses[:50]):.3f} at first, {np.mean(losses[-50:]):.4f} at last")

# The picture
import matplotlib.pyplot as plt  # noqa: E402

plt.semilogy(losses)
plt.axhline(np.var(due), color="gray", linestyle="--", label="always the mean")
plt.xlabel("step")
plt.ylabel("mean squared error")
plt.legend()
plt.savefig("adding.png")
