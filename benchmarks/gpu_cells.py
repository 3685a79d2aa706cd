"""An LSTM in PyTorch whose products are written by hand: summed in float32, or in the short format of their operands.

On a GPU a product is a Triton kernel. Elsewhere it is the same loop in PyTorch, or the kernel in Triton's interpreter
where TRITON_INTERPRET is set (which knows float16 and float32 and gets bfloat16 wrong).
"""

import os
from functools import cache
from typing import Any

import torch

BLOCK = 16
"""Rows and columns that a program of the kernel takes."""


@cache
def _kernel() -> Any:
    """Return the kernel, compiled when it is first called."""
    import triton
    import triton.language as tl

    # Triton looks up what a kernel names in its module.
    globals()["tl"] = tl

    @triton.jit
    def product(a, b, out, M, N, K, SHORT: tl.constexpr, BLOCK: tl.constexpr):
        rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        total = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
        for k in range(K):
            x = tl.load(a + rows * K + k, mask=rows < M, other=0.0).to(tl.float32)
            y = tl.load(b + k * N + columns, mask=columns < N, other=0.0).to(tl.float32)
            total += x[:, None] * y[None, :]
            if SHORT:
                total = total.to(out.dtype.element_ty).to(tl.float32)
        inside = (rows[:, None] < M) & (columns[None, :] < N)
        tl.store(out + rows[:, None] * N + columns[None, :], total.to(out.dtype.element_ty), mask=inside)

    return product


def multiply(a: torch.Tensor, b: torch.Tensor, short: bool) -> torch.Tensor:
    """Return ``a @ b``, summed term by term in float32, or with each partial sum rounded to the operands' format."""
    if a.is_cuda or os.environ.get("TRITON_INTERPRET"):
        a, b = a.contiguous(), b.contiguous()
        out = torch.empty(len(a), b.shape[1], dtype=a.dtype, device=a.device)
        grid = (-(-len(a) // BLOCK), -(-b.shape[1] // BLOCK))
        _kernel()[grid](a, b, out, len(a), b.shape[1], len(b), SHORT=short, BLOCK=BLOCK)
        return out
    total = torch.zeros(len(a), b.shape[1], dtype=torch.float32, device=a.device)
    for k in range(len(b)):
        total = total + a[:, k, None].float() * b[k].float()
        if short:
            total = total.to(a.dtype).float()
    return total.to(a.dtype)


class Product(torch.autograd.Function):
    """The product and its gradients, all of them by `multiply`."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor, short: bool) -> torch.Tensor:
        """Return the product."""
        ctx.save_for_backward(a, b)
        ctx.short = short
        return multiply(a, b, short)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return the gradients of both operands."""
        a, b = ctx.saved_tensors
        return multiply(grad, b.T, ctx.short), multiply(a.T, grad, ctx.short), None


class HandWritten(torch.nn.Module):
    """One layer with the weights of `torch.nn.LSTM`, batch first.

    Parameters
    ----------
    input_size, hidden_size : int
    short : bool
        Whether products are summed in the format of their operands.
    """

    def __init__(self, input_size: int, hidden_size: int, short: bool = False) -> None:
        super().__init__()
        self.hidden_size, self.short = hidden_size, short
        for name, shape in (("ih", (4 * hidden_size, input_size)), ("hh", (4 * hidden_size, hidden_size))):
            self.register_parameter(f"weight_{name}_l0", torch.nn.Parameter(torch.randn(*shape) / hidden_size))
            self.register_parameter(f"bias_{name}_l0", torch.nn.Parameter(torch.zeros(4 * hidden_size)))

    def forward(self, X: torch.Tensor, states: Any = None) -> Any:
        """Return every step's h, and the final states."""
        if states is None:
            states = (X.new_zeros(1, len(X), self.hidden_size),) * 2
        h, C = states[0][0], states[1][0]
        bias, outputs = self.bias_ih_l0 + self.bias_hh_l0, []
        for t in range(X.shape[1]):
            linear = Product.apply(X[:, t], self.weight_ih_l0.T, self.short)
            linear = linear + Product.apply(h, self.weight_hh_l0.T, self.short) + bias
            i, f, g, o = linear.chunk(4, dim=1)
            C = torch.sigmoid(f) * C + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(C)
            outputs.append(h)
        return torch.stack(outputs, dim=1), (h[None], C[None])
