"""Functions with a dict of parameters nested by what they multiply; 1 is added to the forget gate at run time."""

import numpy as np


def logistic(z):
    return 1 / (1 + np.exp(-z))


def run_forward(seq, hidden, memory, weights):
    states = []
    tape = []
    for x in seq:
        z = x @ weights["x2h"] + hidden @ weights["h2h"] + weights["bias"]
        i, j, f, o = np.split(z, 4, axis=1)
        i, j, f, o = logistic(i), np.tanh(j), logistic(f + 1.0), logistic(o)
        before = memory
        memory = f * memory + i * j
        tape.append((x, hidden, before, i, j, f, o, memory))
        hidden = o * np.tanh(memory)
        states.append(hidden)
    return np.array(states), memory, tape


def run_backward(d_states, d_memory, tape, weights):
    grads = {name: np.zeros_like(value) for name, value in weights.items()}
    d_hidden, d_seq = 0.0, []
    for (x, hidden, before, i, j, f, o, memory), d in zip(tape[::-1], d_states[::-1], strict=True):
        d_hidden = d + d_hidden
        through = np.tanh(memory)
        d_memory = d_memory + d_hidden * o * (1 - through**2)
        dz = np.concatenate(
            [
                d_memory * j * i * (1 - i),
                d_memory * i * (1 - j**2),
                d_memory * before * f * (1 - f),
                d_hidden * through * o * (1 - o),
            ],
            axis=1,
        )
        grads["x2h"] += x.T @ dz
        grads["h2h"] += hidden.T @ dz
        grads["bias"] += dz.sum(axis=0)
        d_seq.append(dz @ weights["x2h"].T)
        d_hidden, d_memory = dz @ weights["h2h"].T, d_memory * f
    return np.array(d_seq[::-1]), grads, (d_hidden, d_memory)
