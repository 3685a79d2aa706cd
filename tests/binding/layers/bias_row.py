"""Static methods and one packed matrix whose first row is the bias; time first, gates i f o g, as in a famous gist."""

import numpy as np


class LSTM:
    @staticmethod
    def init(input_size, hidden_size, fancy_forget_bias_init=3):
        WLSTM = np.random.randn(input_size + hidden_size + 1, 4 * hidden_size) / np.sqrt(input_size + hidden_size)
        WLSTM[0, :] = 0
        WLSTM[0, hidden_size : 2 * hidden_size] = fancy_forget_bias_init
        return WLSTM

    @staticmethod
    def forward(X, WLSTM, c0=None, h0=None):
        n, b, input_size = X.shape
        d = WLSTM.shape[1] // 4
        c0 = np.zeros((b, d)) if c0 is None else c0
        h0 = np.zeros((b, d)) if h0 is None else h0
        Hin = np.zeros((n, b, WLSTM.shape[0]))
        Hout, IFOG, C, Ct = np.zeros((n, b, d)), np.zeros((n, b, 4 * d)), np.zeros((n, b, d)), np.zeros((n, b, d))
        for t in range(n):
            before = Hout[t - 1] if t > 0 else h0
            Hin[t, :, 0] = 1
            Hin[t, :, 1 : 1 + input_size] = X[t]
            Hin[t, :, 1 + input_size :] = before
            a = Hin[t] @ WLSTM
            IFOG[t, :, : 3 * d] = 1 / (1 + np.exp(-a[:, : 3 * d]))
            IFOG[t, :, 3 * d :] = np.tanh(a[:, 3 * d :])
            prevc = C[t - 1] if t > 0 else c0
            C[t] = IFOG[t, :, :d] * IFOG[t, :, 3 * d :] + IFOG[t, :, d : 2 * d] * prevc
            Ct[t] = np.tanh(C[t])
            Hout[t] = IFOG[t, :, 2 * d : 3 * d] * Ct[t]
        cache = {"WLSTM": WLSTM, "X": X, "Hin": Hin, "IFOG": IFOG, "C": C, "Ct": Ct, "c0": c0}
        return Hout, C[-1], Hout[-1], cache

    @staticmethod
    def backward(dHout_in, cache, dcn=None, dhn=None):
        WLSTM, Hin, IFOG, C, Ct = (cache[key] for key in ("WLSTM", "Hin", "IFOG", "C", "Ct"))
        n, b, d = dHout_in.shape
        input_size = WLSTM.shape[0] - d - 1
        dHout, dWLSTM = dHout_in.copy(), np.zeros_like(WLSTM)
        dX, dC = np.zeros((n, b, input_size)), np.zeros_like(C)
        dh0, dc0 = np.zeros((b, d)), np.zeros((b, d))
        if dcn is not None:
            dC[-1] += dcn
        if dhn is not None:
            dHout[-1] += dhn
        for t in reversed(range(n)):
            i, f, o, g = (IFOG[t, :, k * d : (k + 1) * d] for k in range(4))
            prevc = C[t - 1] if t > 0 else cache["c0"]
            dC[t] += (1 - Ct[t] ** 2) * o * dHout[t]
            passed = f * dC[t]
            if t > 0:
                dC[t - 1] += passed
            else:
                dc0 = passed
            da = np.concatenate(
                [
                    g * dC[t] * i * (1 - i),
                    prevc * dC[t] * f * (1 - f),
                    Ct[t] * dHout[t] * o * (1 - o),
                    i * dC[t] * (1 - g**2),
                ],
                axis=1,
            )
            dWLSTM += Hin[t].T @ da
            dHin = da @ WLSTM.T
            dX[t] = dHin[:, 1 : 1 + input_size]
            if t > 0:
                dHout[t - 1] += dHin[:, 1 + input_size :]
            else:
                dh0 = dHin[:, 1 + input_size :]
        return dX, dWLSTM, dc0, dh0
