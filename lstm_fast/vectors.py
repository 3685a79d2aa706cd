"""The innermost loops of the compiled passes, written in vectors of the processor's registers; for Numba's compiler.

What compiled code calls, with addresses and sizes in bytes: `multiply`, a product of matrices whose result stays in
registers while it is summed up, and `step_forward` and `step_back`, the cells of a step of some samples. LLVM
makes vector code of ordinary loops only where it can see that their arrays do not overlap, and no such product of any:
so these are given to it in vectors from the start.

The first argument of each is a number of the type to compute in, which says nothing else; the second is a tuple.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["FUSED", "REGISTER", "ROWS", "VECTORS", "multiply", "multiply_narrow", "step_back", "step_forward"]


def _features() -> dict[str, bool]:
    """Return what the processor has that Numba compiles for: this one, unless its settings name another."""
    config: Any = numba.config
    said = config.CPU_FEATURES
    if said is None and config.CPU_NAME is None:
        return dict(llvmlite.binding.get_host_cpu_features())
    return {word[1:]: word[0] == "+" for word in (said or "").split(",") if word}


def _registers(features: dict[str, bool]) -> tuple[int, int]:
    """Return the size of a vector register in bytes, and how many of them there are."""
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx"):
        return 32, 16
    return 16, 16 if platform.machine().lower() in ("x86_64", "amd64") else 32


#: Bytes of a vector register.
REGISTER, _COUNT = _registers(_features())

#: Whether a product and a sum are one instruction. Where not, each would be a call of a function.
FUSED = _COUNT == 32 or _features().get("fma", False)

#: Vectors and rows of the block of a product that stays in registers. Four, one for each gate of a cell, and as many
#: rows as leave registers for a row of the right factor and a number of the left: each number loaded is then used often
#: enough for the loads to keep up with the arithmetic.
VECTORS = 4
ROWS = _COUNT // VECTORS - 2 if _COUNT == 32 else 3

_INTEGER = ir.IntType(64)


class _Code:
    """Emit operations on vectors of one type; addresses are 64-bit integers."""

    def __init__(self, builder: Any, scalar: Any) -> None:
        self.builder = builder
        self.single = scalar == numba.float32
        self.scalar = ir.FloatType() if self.single else ir.DoubleType()
        self.item = 4 if self.single else 8
        self.lanes = REGISTER // self.item
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.integers = ir.VectorType(ir.IntType(8 * self.item), self.lanes)
        name = f"llvm.fma.v{self.lanes}f{8 * self.item}"
        self.fma_function = builder.module.declare_intrinsic(name, (), ir.FunctionType(self.vector, [self.vector] * 3))

    def at(self, address: Any, offset: int = 0) -> Any:
        """Return a pointer to a vector."""
        if offset:
            address = self.builder.add(address, _INTEGER(offset))
        return self.builder.inttoptr(address, self.vector.as_pointer())

    def load(self, address: Any, offset: int = 0) -> Any:
        return self.builder.load(self.at(address, offset), align=self.item)

    def store(self, value: Any, address: Any, offset: int = 0) -> None:
        self.builder.store(value, self.at(address, offset), align=self.item)

    def everywhere(self, value: float) -> Any:
        """Return a vector of one constant."""
        return ir.Constant(self.vector, [ir.Constant(self.scalar, value)] * self.lanes)

    def number(self, address: Any) -> Any:
        """Return a vector of one number in memory."""
        value = self.builder.load(self.builder.inttoptr(address, self.scalar.as_pointer()))
        nothing = ir.Constant(self.vector, ir.Undefined)
        value = self.builder.insert_element(nothing, value, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.builder.shuffle_vector(value, nothing, zeros)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a b + c, rounded once."""
        return self.builder.call(self.fma_function, [a, b, c])

    def tanh(self, x: Any) -> Any:
        """Return tanh(x) to a few units in the last place, also of what is small; NaN of NaN.

        With q = exp(2 x) - 1 it is q / (q + 2). 2 x = n log 2 + r, with n whole and r at most half of log 2 in size, so
        q = 2^n p + (2^n - 1), where p = exp(r) - 1 is r times a Taylor polynomial that ends below half a unit in the
        last place. For n = 0 that is p itself: nothing is lost where x is small.
        """
        builder, constant = self.builder, self.everywhere
        digits, terms, beyond = (24, 7, 10.0) if self.single else (53, 13, 20.0)  # tanh(beyond) rounds to 1
        for word, limit in (("<", -beyond), (">", beyond)):
            x = builder.select(builder.fcmp_ordered(word, x, constant(limit)), constant(limit), x)
        # Added to a number of this size, what is behind the point goes, and n stands in the last bits.
        shift = constant(1.5 * 2.0 ** (digits - 1))
        shifted = self.fma(x, constant(2 / math.log(2)), shift)
        n = builder.fsub(shifted, shift)
        # log 2 in two parts, of which the first has so few digits that n times it is exact.
        first = math.floor(math.log(2) / 2 * 2.0 ** (digits - 10)) / 2.0 ** (digits - 10)
        second = float(_LOG_2_BEYOND - (first - _HALF_LOG_2))
        half = self.fma(n, constant(-first), x)
        half = self.fma(n, constant(-second), half)
        r = builder.fadd(half, half)
        p = constant(1 / math.factorial(terms))
        for k in range(terms - 1, 1, -1):
            p = self.fma(p, r, constant(1 / math.factorial(k)))
        p = self.fma(builder.fmul(r, r), p, r)
        bits = builder.bitcast(shifted, self.integers)

        def whole(value: int) -> Any:
            return ir.Constant(self.integers, [ir.Constant(self.integers.element, value)] * self.lanes)

        bias = builder.add(bits, whole(127 if self.single else 1023))
        power = builder.bitcast(builder.shl(bias, whole(digits - 1)), self.vector)
        q = self.fma(power, p, builder.fsub(power, constant(1.0)))
        return self.divide(q, builder.fadd(q, constant(2.0)))

    def divide(self, a: Any, b: Any) -> Any:
        """Return a / b, to a unit in the last place; b is neither large nor small."""
        builder = self.builder
        if not self.single or REGISTER < 64:
            return builder.fdiv(a, b)
        # Dividing 16 numbers takes as long as some thirty other operations: a reciprocal of 14 bits, refined once.
        mask = ir.IntType(16)
        function = ir.FunctionType(self.vector, [self.vector, self.vector, mask])
        estimate = builder.module.declare_intrinsic("llvm.x86.avx512.rcp14.ps.512", (), function)
        guess = builder.call(estimate, [b, ir.Constant(self.vector, None), mask(-1)])
        wrong = self.fma(builder.fneg(b), guess, self.everywhere(1.0))
        quotient = builder.fmul(a, guess)
        return self.fma(quotient, wrong, quotient)


# log(2) / 2 as a float64 and what that leaves out.
_HALF_LOG_2 = math.log(2) / 2
_LOG_2_BEYOND = 2.3190468138462996e-17 / 2


def _for_compiled_code(generate: Callable[..., None]) -> Any:
    """Return a function for compiled code, of a number that says the type and a tuple of 64-bit integers."""

    def typed(typing: Any, kind: Any, integers: Any) -> Any:
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            given = [builder.extract_value(values[1], k) for k in range(len(integers))]
            generate(_Code(builder, signature.args[0]), *given)
            return context.get_dummy_value()

        return numba.void(kind, integers), lower

    return intrinsic(typed)


def _multiply(widths: range) -> Callable[..., None]:
    """Return what emits a loop for each number of rows, and of vectors in `widths`."""

    def generate(code: _Code, *given: Any) -> None:
        *operands, rows, vectors, terms, add = given
        builder = code.builder
        end = builder.append_basic_block("end")
        choice = builder.switch(builder.add(builder.mul(vectors, _INTEGER(ROWS + 1)), rows), end)
        for width in widths:
            for height in range(1, ROWS + 1):
                block = builder.append_basic_block(f"block_{height}_{width}")
                choice.add_case(_INTEGER(width * (ROWS + 1) + height), block)
                builder.position_at_end(block)
                _multiply_block(code, height, width, terms, add, *operands)
                builder.branch(end)
        builder.position_at_end(end)

    return generate


def _multiply_block(
    code: _Code,
    height: int,
    width: int,
    terms: Any,
    add: Any,
    a: Any,
    a_row: Any,
    a_term: Any,
    b: Any,
    b_term: Any,
    c: Any,
    c_row: Any,
    c_vector: Any,
) -> None:
    """Emit the product of `height` rows and `width` vectors."""
    builder = code.builder
    places = [(r, j) for r in range(height) for j in range(width)]
    sums = {place: cgutils.alloca_once(builder, code.vector) for place in places}
    into = {}
    for r, j in places:
        offset = builder.add(builder.mul(_INTEGER(r), c_row), builder.mul(_INTEGER(j), c_vector))
        into[r, j] = builder.add(c, offset)
    with builder.if_else(builder.icmp_signed("!=", add, _INTEGER(0))) as (then, otherwise):
        with then:
            for place in places:
                builder.store(code.load(into[place]), sums[place])
        with otherwise:
            for place in places:
                builder.store(ir.Constant(code.vector, None), sums[place])
    starts = [builder.add(a, builder.mul(_INTEGER(r), a_row)) for r in range(height)]
    with cgutils.for_range(builder, terms, intp=_INTEGER) as loop:
        term, row = builder.mul(loop.index, a_term), builder.add(b, builder.mul(loop.index, b_term))
        right = [code.load(row, j * REGISTER) for j in range(width)]
        for r in range(height):
            left = code.number(builder.add(starts[r], term))
            for j in range(width):
                builder.store(code.fma(left, right[j], builder.load(sums[r, j])), sums[r, j])
    for place in places:
        code.store(builder.load(sums[place]), into[place])


def _step_forward(code: _Code, *given: Any) -> None:
    linear, before, gates, after, h, h_row, out, out_row, rows = given
    builder, half = code.builder, code.everywhere(0.5)
    with cgutils.for_range(builder, rows, intp=_INTEGER) as loop:
        four = builder.mul(loop.index, _INTEGER(4 * REGISTER))
        one = builder.mul(loop.index, _INTEGER(REGISTER))
        source, target = builder.add(linear, four), builder.add(gates, four)
        g, f, i, o = (code.tanh(code.load(source, k * REGISTER)) for k in range(4))
        f, i, o = (code.fma(x, half, half) for x in (f, i, o))
        for k, x in enumerate((g, f, i, o)):
            code.store(x, target, k * REGISTER)
        C_ = code.fma(f, code.load(builder.add(before, one)), builder.fmul(i, g))
        code.store(C_, builder.add(after, one))
        value = builder.fmul(o, code.tanh(C_))
        code.store(value, builder.add(h, builder.mul(loop.index, h_row)))
        code.store(value, builder.add(out, builder.mul(loop.index, out_row)))


def _step_back(code: _Code, *given: Any) -> None:
    gates, before, after, dA, dA_row, dh, dh_row, dC, dk, dk_row, rows = given
    builder, unit = code.builder, code.everywhere(1.0)
    multiply, subtract = builder.fmul, builder.fsub
    with cgutils.for_range(builder, rows, intp=_INTEGER) as loop:
        source = builder.add(gates, builder.mul(loop.index, _INTEGER(4 * REGISTER)))
        one = builder.mul(loop.index, _INTEGER(REGISTER))
        g, f, i, o = (code.load(source, k * REGISTER) for k in range(4))
        C = code.tanh(code.load(builder.add(after, one)))
        dh_ = builder.fadd(
            code.load(builder.add(dA, builder.mul(loop.index, dA_row))),
            code.load(builder.add(dh, builder.mul(loop.index, dh_row))),
        )
        h, ig = multiply(o, C), multiply(i, g)
        carried = builder.add(dC, one)
        dC_ = builder.fadd(code.load(carried), multiply(dh_, subtract(o, multiply(h, C))))
        code.store(multiply(dC_, f), carried)
        fC = multiply(f, code.load(builder.add(before, one)))
        target = builder.add(dk, builder.mul(loop.index, dk_row))
        for k, x in enumerate(
            (
                multiply(dC_, subtract(i, multiply(ig, g))),
                multiply(dC_, multiply(subtract(unit, f), fC)),
                multiply(dC_, multiply(subtract(unit, i), ig)),
                multiply(dh_, multiply(subtract(unit, o), h)),
            )
        ):
            code.store(x, target, k * REGISTER)


#: c = a b, or c += a b if `add`, of (a, a_row, a_term, b, b_term, c, c_row, c_vector, rows, vectors, terms, add):
#: `rows` rows of numbers at `a` by a panel of 4 vectors a term at `b`. A stride's name says from what to the next.
multiply: Any = _for_compiled_code(_multiply(range(VECTORS, VECTORS + 1)))

#: The same of 1 to 3 vectors.
multiply_narrow: Any = _for_compiled_code(_multiply(range(1, VECTORS)))

#: One panel of a step's cells, as :mod:`lstm_fast.forward` has them, of (linear, before, gates, after, h, h_row, out,
#: out_row, rows): C_{t-1} is `before` and C_t goes `after`, the gates to `gates`, h to two places.
step_forward: Any = _for_compiled_code(_step_forward)

#: The same backward, of (gates, before, after, dA, dA_row, dh, dh_row, dC, dk, dk_row, rows).
step_back: Any = _for_compiled_code(_step_back)
