"""One step of the cell as a torch.autograd.Function whose backward pass can be differentiated once more."""

import torch


class Step(torch.autograd.Function):
    """The two states from the gates' linear activations; nothing but inputs is kept, and the gates are made anew."""

    @staticmethod
    def forward(ctx, zf, zi, zg, zo, c):
        f, i, g, o = torch.sigmoid(zf), torch.sigmoid(zi), torch.tanh(zg), torch.sigmoid(zo)
        ctx.save_for_backward(zf, zi, zg, zo, c)
        c_new = f * c + i * g
        return o * torch.tanh(c_new), c_new

    @staticmethod
    def backward(ctx, dh, dc_new):
        zf, zi, zg, zo, c = ctx.saved_tensors
        f, i, g, o = torch.sigmoid(zf), torch.sigmoid(zi), torch.tanh(zg), torch.sigmoid(zo)
        tc = torch.tanh(f * c + i * g)
        dc = dc_new + dh * o * (1 - tc * tc)
        dzf = dc * c * f * (1 - f)
        dzi = dc * g * i * (1 - i)
        dzg = dc * i * (1 - g * g)
        dzo = dh * tc * o * (1 - o)
        return dzf, dzi, dzg, dzo, dc * f


def lstm(p, X, h0, C0):
    h, c = h0, C0
    out = []
    for t in range(X.shape[1]):
        z = (X[:, t] @ p["U" + k] + h @ p["V" + k] + p["b" + k] for k in "figo")
        h, c = Step.apply(*z, c)
        out.append(h)
    return torch.stack(out, 1), c
