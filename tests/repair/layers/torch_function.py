"""One step of the cell as a torch.autograd.Function with a backward pass of its own."""

import torch
from torch.autograd.function import once_differentiable


class Step(torch.autograd.Function):
    """Gates from their linear activations, then the two states."""

    @staticmethod
    def forward(ctx, zf, zi, zg, zo, c):
        f, i, o = torch.sigmoid(zf), torch.sigmoid(zi), torch.sigmoid(zo)
        g = torch.tanh(zg)
        c_new = f * c + i * g
        tc = torch.tanh(c_new)
        ctx.save_for_backward(f, i, g, o, c, tc)
        return o * tc, c_new

    @staticmethod
    @once_differentiable
    def backward(ctx, dh, dc_new):
        f, i, g, o, c, tc = ctx.saved_tensors
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
        x = X[:, t]
        zf = x @ p["Uf"] + h @ p["Vf"] + p["bf"]
        zi = x @ p["Ui"] + h @ p["Vi"] + p["bi"]
        zg = x @ p["Ug"] + h @ p["Vg"] + p["bg"]
        zo = x @ p["Uo"] + h @ p["Vo"] + p["bo"]
        h, c = Step.apply(zf, zi, zg, zo, c)
        out.append(h)
    return torch.stack(out, 1), c
