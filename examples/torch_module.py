"""A torch.nn.Module, and one whose autograd.Function has a backward pass written by hand that forgets a term.

lstm-checks verify examples/torch_module.py:LSTM
lstm-checks verify examples/torch_module.py:HandWritten
lstm-checks verify examples/torch_module.py:make
lstm-checks verify examples/torch_module.py:lstm
"""

import torch


class Cell(torch.autograd.Function):
    """What a step does with the four gates and the memory; its gradient by hand."""

    @staticmethod
    def forward(ctx, k, C):
        """Return h and the next memory from the gates before their activation, i f g o, and the memory."""
        i, f, g, o = k.chunk(4, dim=1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        ctx.save_for_backward(i, f, g, o, C)
        C = f * C + i * g
        return o * C.tanh(), C

    @staticmethod
    def backward(ctx, dh, dCn):
        """Return the gradients of the gates and of the memory."""
        i, f, g, o, Cp = ctx.saved_tensors
        C = (f * Cp + i * g).tanh()
        # Here is the mistake: dCn, what arrives from the next step's memory, is not added.
        dC = dh * o * (1 - C * C)
        dk = dC * g * i * (1 - i), dC * Cp * f * (1 - f), dC * i * (1 - g * g), dh * C * o * (1 - o)
        return torch.cat(dk, dim=1), dC * f


def step(k, C):
    """Return what `Cell` returns, differentiated by PyTorch."""
    i, f, g, o = k.chunk(4, dim=1)
    C = f.sigmoid() * C + i.sigmoid() * g.tanh()
    return o.sigmoid() * C.tanh(), C


class LSTM(torch.nn.Module):
    """An LSTM from nothing; the names of its weights are those of torch.nn.LSTMCell, and so found."""

    step = staticmethod(step)

    def __init__(self, input_size, hidden_size):
        super().__init__()
        rows = 4 * hidden_size
        for name, shape in (("ih", (rows, input_size)), ("hh", (rows, hidden_size))):
            setattr(self, f"weight_{name}", torch.nn.Parameter(0.1 * torch.randn(shape)))
            setattr(self, f"bias_{name}", torch.nn.Parameter(torch.zeros(rows)))

    def forward(self, X, states):
        """Return h of every step, and the final states."""
        h, C = states
        every = []
        for x in X.unbind(dim=1):
            k = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
            h, C = self.step(k, C)
            every.append(h)
        return torch.stack(every, dim=1), (h, C)


class HandWritten(LSTM):
    """The same with the backward pass above."""

    step = staticmethod(Cell.apply)


def make(input_size, hidden_size):
    """Return a module: any function of the two sizes that makes one will do."""
    return torch.nn.LSTM(input_size, hidden_size)


def lstm(p, X, h0, C0):
    """Return h and the final memory as a plain function of tensors, with the parameters Uf ... bo by name."""
    h, C, every = h0, C0, []
    for x in X.unbind(dim=1):
        k = torch.cat([x @ p["U" + gate] + h @ p["V" + gate] + p["b" + gate] for gate in "ifgo"], dim=1)
        h, C = step(k, C)
        every.append(h)
    return torch.stack(every, dim=1), C
