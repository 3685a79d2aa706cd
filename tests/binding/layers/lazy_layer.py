"""A layer that makes its weights when it first sees data; time last, dicts of parameters and gradients."""

import numpy as np


class Sigmoid:
    def __call__(self, z):
        return 1 / (1 + np.exp(-z))

    def grad_of_output(self, a):
        return a * (1 - a)


class LSTMLayer:
    def __init__(self, n_out, act_fn="Tanh", gate_fn="Sigmoid", init="glorot_uniform", optimizer=None):
        self.n_in, self.n_out = None, n_out
        self.gate_fn, self.trainable, self.is_initialized = Sigmoid(), True, False
        self.parameters, self.gradients, self.derived_variables = {}, {}, {}

    def _init_params(self):
        rng = np.random.default_rng(0)
        shape = (self.n_out + self.n_in, self.n_out)
        for gate in ("f", "u", "c", "o"):
            self.parameters["W" + gate] = rng.uniform(-0.1, 0.1, shape)
            self.parameters["b" + gate] = np.zeros((1, self.n_out))
        self.is_initialized = True
        self.flush_gradients()

    def flush_gradients(self):
        self.gradients = {name: np.zeros_like(value) for name, value in self.parameters.items()}

    def forward(self, X):
        """X is (n_ex, n_in, n_t); the output is (n_ex, n_out, n_t)."""
        if not self.is_initialized:
            self.n_in = X.shape[1]
            self._init_params()
        p, steps = self.parameters, []
        A = np.zeros((X.shape[0], self.n_out))
        C = np.zeros_like(A)
        Y = []
        for t in range(X.shape[2]):
            Zt = np.hstack([A, X[:, :, t]])
            Gf = self.gate_fn(Zt @ p["Wf"] + p["bf"])
            Gu = self.gate_fn(Zt @ p["Wu"] + p["bu"])
            Go = self.gate_fn(Zt @ p["Wo"] + p["bo"])
            Cc = np.tanh(Zt @ p["Wc"] + p["bc"])
            before = C
            C = Gf * C + Gu * Cc
            A = Go * np.tanh(C)
            steps.append((Zt, Gf, Gu, Go, Cc, before, C))
            Y.append(A)
        self.derived_variables = {"steps": steps}
        return np.dstack(Y)

    def backward(self, dLdA):
        self.flush_gradients()
        p, g, act = self.parameters, self.gradients, self.gate_fn
        n_ex, n_out, n_t = dLdA.shape
        dA_next, dC_next = np.zeros((n_ex, n_out)), np.zeros((n_ex, n_out))
        dX = []
        for t in reversed(range(n_t)):
            Zt, Gf, Gu, Go, Cc, before, C = self.derived_variables["steps"][t]
            dA = dLdA[:, :, t] + dA_next
            dC = dC_next + dA * Go * (1 - np.tanh(C) ** 2)
            d = {
                "f": dC * before * act.grad_of_output(Gf),
                "u": dC * Cc * act.grad_of_output(Gu),
                "o": dA * np.tanh(C) * act.grad_of_output(Go),
                "c": dC * Gu * (1 - Cc**2),
            }
            dZ = sum(d[gate] @ p["W" + gate].T for gate in d)
            for gate in d:
                g["W" + gate] += Zt.T @ d[gate]
                g["b" + gate] += d[gate].sum(axis=0, keepdims=True)
            dA_next, dC_next = dZ[:, :n_out], dC * Gf
            dX.insert(0, dZ[:, n_out:])
        return np.dstack(dX)
