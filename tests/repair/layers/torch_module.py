"""A torch.nn.Module that leaves the gradients to autograd."""

import torch


class LSTM(torch.nn.Module):
    """Weights as torch.nn.LSTM has them: gates i, f, g, o, one below the other."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih = torch.nn.Parameter(torch.randn(4 * hidden_size, input_size))
        self.weight_hh = torch.nn.Parameter(torch.randn(4 * hidden_size, hidden_size))
        self.bias = torch.nn.Parameter(torch.zeros(4 * hidden_size))

    def forward(self, X, states):
        h, c = states
        out = []
        for x in X.unbind(1):
            z = x @ self.weight_ih.T + h @ self.weight_hh.T + self.bias
            i, f, g, o = z.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            out.append(h)
        return torch.stack(out, 1), (h, c)
