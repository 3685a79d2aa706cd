"""An LSTM as a torch.nn.Module. It is right as it stands; put your own lines in place of these.

lstm-checks verify lstm_torch.py:LSTM
"""

import torch


class LSTM(torch.nn.Module):
    """One layer, called with X (m, s, e) and the states (h, C); in which order you keep the gates is found out."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.inside = torch.nn.Linear(input_size, 4 * hidden_size)
        self.again = torch.nn.Linear(hidden_size, 4 * hidden_size, bias=False)

    def forward(self, X, states):
        """Return h of every step, and the final states."""
        h, C = states
        every = []
        for x in X.unbind(dim=1):
            i, f, g, o = (self.inside(x) + self.again(h)).chunk(4, dim=1)
            C = f.sigmoid() * C + i.sigmoid() * g.tanh()
            h = o.sigmoid() * C.tanh()
            every.append(h)
        return torch.stack(every, dim=1), (h, C)
