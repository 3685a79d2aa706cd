"""Plain functions of torch tensors, a list of parameters with an output layer, time first: a textbook's."""

import torch


def get_lstm_params(vocab_size, num_hiddens, device=None):
    def three():
        return (
            torch.randn(vocab_size, num_hiddens) * 0.01,
            torch.randn(num_hiddens, num_hiddens) * 0.01,
            torch.zeros(num_hiddens),
        )

    params = [*three(), *three(), *three(), *three(), torch.randn(num_hiddens, vocab_size), torch.zeros(vocab_size)]
    for param in params:
        param.requires_grad_(True)
    return params


def lstm(inputs, state, params):
    [W_xi, W_hi, b_i, W_xf, W_hf, b_f, W_xo, W_ho, b_o, W_xc, W_hc, b_c, W_hq, b_q] = params
    (H, C) = state
    outputs = []
    for X in inputs:
        I = torch.sigmoid((X @ W_xi) + (H @ W_hi) + b_i)
        F = torch.sigmoid((X @ W_xf) + (H @ W_hf) + b_f)
        O = torch.sigmoid((X @ W_xo) + (H @ W_ho) + b_o)
        C_tilda = torch.tanh((X @ W_xc) + (H @ W_hc) + b_c)
        C = F * C + I * C_tilda
        H = O * torch.tanh(C)
        Y = (H @ W_hq) + b_q
        outputs.append(Y)
    return torch.cat(outputs, dim=0), (H, C)
