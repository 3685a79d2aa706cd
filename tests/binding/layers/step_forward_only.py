"""One step, forward only, for a library that differentiates it: gates in four blocks of columns, i f o g."""

import numpy as np


def sigmoid(x):
    return 0.5 * (np.tanh(x / 2) + 1)


def lstm_step(x, prev_h, prev_c, Wx, Wh, b):
    activation = np.dot(x, Wx) + np.dot(prev_h, Wh) + b
    i, f, o, g = np.split(activation, 4, axis=1)
    next_c = sigmoid(f) * prev_c + sigmoid(i) * np.tanh(g)
    next_h = sigmoid(o) * np.tanh(next_c)
    return next_h, next_c
