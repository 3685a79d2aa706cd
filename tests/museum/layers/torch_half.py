"""An LSTM in half precision whose steps are a torch.autograd.Function: its arithmetic is in single precision."""

import torch
from torch.autograd.function import once_differentiable


class Step(torch.autograd.Function):
    """The two states from the gates' linear activations."""

    @staticmethod
    def forward(ctx, z, c):
        i, f, g, o = z.float().chunk(4, 1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c_new = f * c.float() + i * g
        ctx.save_for_backward(i, f, g, o, c, torch.tanh(c_new))
        return (o * torch.tanh(c_new)).to(c.dtype), c_new.to(c.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, dh, dc_new):
        i, f, g, o, c, tc = ctx.saved_tensors
        kind, dh, dc_new, c = c.dtype, dh.float(), dc_new.float(), c.float()
        dc = dc_new + dh * o * (1 - tc * tc)
        dz = (dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * tc * o * (1 - o))
        return torch.cat(dz, 1).to(kind), (dc * f).to(kind)


class Layer(torch.nn.Module):
    """The layer, batch-first, with two biases."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih = torch.nn.Parameter(torch.randn(4 * hidden_size, input_size))
        self.weight_hh = torch.nn.Parameter(torch.randn(4 * hidden_size, hidden_size))
        self.bias_ih = torch.nn.Parameter(torch.zeros(4 * hidden_size))
        self.bias_hh = torch.nn.Parameter(torch.zeros(4 * hidden_size))

    def forward(self, x, state):
        h, c = state
        every = []
        for t in range(x.shape[1]):
            z = torch.nn.functional.linear(x[:, t], self.weight_ih, self.bias_ih)
            z = z + torch.nn.functional.linear(h, self.weight_hh, self.bias_hh)
            h, c = Step.apply(z, c)
            every.append(h)
        return torch.stack(every, 1), (h, c)


def half(input_size, hidden_size):
    """Return the layer in half precision."""
    return Layer(input_size, hidden_size).half()
