"""An LSTM as a torch module whose memory is cut off at -3 and 3 after each update, and handed on so."""

import torch


class Clipped(torch.nn.Module):
    """The layer, batch-first, with one bias."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih = torch.nn.Parameter(torch.randn(4 * hidden_size, input_size))
        self.weight_hh = torch.nn.Parameter(torch.randn(4 * hidden_size, hidden_size))
        self.bias = torch.nn.Parameter(torch.zeros(4 * hidden_size))

    def forward(self, x, state):
        h, c = state
        every = []
        for t in range(x.shape[1]):
            i, f, g, o = (x[:, t] @ self.weight_ih.T + h @ self.weight_hh.T + self.bias).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            c = c.clamp(-3, 3)
            h = torch.sigmoid(o) * torch.tanh(c)
            every.append(h)
        return torch.stack(every, 1), (h, c)
