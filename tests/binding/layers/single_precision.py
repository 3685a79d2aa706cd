"""A layer of float32 alone, with two biases, and states that begin at zero."""

import numpy as np


class LstmLayer:
    def __init__(self, units, features):
        self.units = units
        draw = np.random.default_rng(3).standard_normal
        self.kernel = (draw((features, 4 * units)) * 0.1).astype(np.float32)
        self.recurrent_kernel = (draw((units, 4 * units)) * 0.1).astype(np.float32)
        self.bias_x = np.zeros((1, 4 * units), np.float32)
        self.bias_h = np.zeros((1, 4 * units), np.float32)

    def call(self, inputs):
        inputs = inputs.astype(np.float32)
        batch, steps, _ = inputs.shape
        h = np.zeros((batch, self.units), np.float32)
        c = np.zeros((batch, self.units), np.float32)
        self.inputs, self.trace, out = inputs, [], []
        for t in range(steps):
            z = inputs[:, t] @ self.kernel + self.bias_x + h @ self.recurrent_kernel + self.bias_h
            z = z.astype(np.float32)
            i, f, g, o = np.split(z, 4, axis=-1)
            one = np.float32(1)
            i, f, o, g = one / (one + np.exp(-i)), one / (one + np.exp(-f)), one / (one + np.exp(-o)), np.tanh(g)
            self.trace.append((h, c, i, f, g, o))
            c = f * c + i * g
            h = o * np.tanh(c)
            out.append(h)
        self.last_c = c
        return np.stack(out, axis=1)

    def gradient(self, upstream):
        upstream = upstream.astype(np.float32)
        self.d_kernel, self.d_recurrent_kernel = np.zeros_like(self.kernel), np.zeros_like(self.recurrent_kernel)
        self.d_bias_x = np.zeros_like(self.bias_x)
        self.d_bias_h = np.zeros_like(self.bias_h)
        dh = dc = np.zeros_like(upstream[:, 0])
        dx = np.zeros_like(self.inputs)
        for t in reversed(range(upstream.shape[1])):
            h, c, i, f, g, o = self.trace[t]
            t_c = np.tanh(f * c + i * g)
            dh = dh + upstream[:, t]
            dc = dc + dh * o * (1 - t_c**2)
            da = np.concatenate(
                [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * t_c * o * (1 - o)], -1
            )
            self.d_kernel += self.inputs[:, t].T @ da
            self.d_recurrent_kernel += h.T @ da
            self.d_bias_x += da.sum(0, keepdims=True)
            self.d_bias_h += da.sum(0, keepdims=True)
            dx[:, t] = da @ self.kernel.T
            dh, dc = da @ self.recurrent_kernel.T, dc * f
        return dx
