"""LLVM code that Python cannot express: bfloat16 bits, addresses, and a product's inner loop.

A bfloat16 is the upper half of a float32. Weights are stored in pairs along the input, as the
processor's dot-product instruction (vdpbf16ps) requires; without it, a pair is widened in registers
and added with two fused multiply-adds. Either way, a sum runs over the input in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic

from tunery.kernels.cpu.layout import UNIT
from tunery.kernels.cpu.processor import has

intrinsic: Any = _intrinsic

LANES = 16
PAIR_BYTES = 4 * UNIT
"""Bytes of a unit's weights for one pair of inputs."""

_I16, _I32, _I64, _F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_FLOATS, _PAIRS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)


class _BFloat(ir.Type):
    """LLVM's bfloat type, which llvmlite does not define."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_BFLOATS = ir.VectorType(_BFloat(), 2 * LANES)


@intrinsic
def to_float(_context: Any, _bits: Any) -> Any:
    """The float32 of bfloat16 bits (uint16)."""

    def emit(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
        wide = builder.shl(builder.zext(args[0], _I32), ir.Constant(_I32, 16))
        return builder.bitcast(wide, _F32)

    return types.float32(types.uint16), emit


@intrinsic
def to_bits(_context: Any, _value: Any) -> Any:
    """The bfloat16 bits (uint16) nearest to a float32, ties to even."""

    def emit(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return _rounded(builder, args[0], _I32, _I16)

    return types.uint16(types.float32), emit


@intrinsic
def power_of_two(_context: Any, _exponent: Any) -> Any:
    """2 to the power of an integer exponent (int32), from -126 to 127."""

    def emit(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits = builder.shl(builder.add(args[0], ir.Constant(_I32, 127)), ir.Constant(_I32, 23))
        return builder.bitcast(bits, _F32)

    return types.float32(types.int32), emit


def _pointer(kind: Any) -> Any:
    @intrinsic
    def pointer(_context, _address):
        def emit(target: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], target.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.intp), emit

    return pointer


halves = _pointer(types.uint16)
"""A pointer to bfloat16 bits from an address."""
floats = _pointer(types.float32)
"""A pointer to float32 from an address."""
words = _pointer(types.int64)
"""A pointer to int64 from an address."""


def tile(rows: int, units: int) -> Callable[..., None]:
    """A product of ``rows`` rows with the weights of ``units`` units, kept in registers.

    The function takes: the address of the weights, bytes per unit, the address of the rows
    (bfloat16), bytes per row, number of pairs of inputs, the address of the bias (float32), the
    address of the results (bfloat16), bytes per row of results.
    """
    vectors = 2 * units

    def emit(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
        weights, unit_bytes, x, x_bytes, pairs, bias, y, y_bytes = args
        add = _dot_pair if has("avx512bf16") else _multiply_twice
        begin = builder.block
        loop, done = builder.append_basic_block("two"), builder.append_basic_block("sums")
        builder.branch(loop)
        builder.position_at_end(loop)
        place = builder.phi(_I64)
        place.add_incoming(_const(0), begin)
        sums = [[builder.phi(_FLOATS) for _ in range(vectors)] for _ in range(rows)]
        for mine in sums:
            for phi in mine:
                phi.add_incoming(ir.Constant(_FLOATS, [0.0] * LANES), begin)
        here = builder.add(weights, builder.mul(place, _const(PAIR_BYTES)))
        blocks = []
        for number in range(vectors):
            start = builder.add(here, builder.mul(unit_bytes, _const(number // 2)))
            start = builder.add(start, _const(number % 2 * 4 * LANES))
            blocks.append(_load(builder, start, _PAIRS, align=64))
        totals = []
        for row, mine in enumerate(sums):
            start = builder.add(x, builder.mul(x_bytes, _const(row)))
            start = builder.add(start, builder.mul(place, _const(4)))
            pair = _splat(builder, _load(builder, start, _I32, align=4))
            step = add(builder, pair)
            totals.append([step(phi, block) for phi, block in zip(mine, blocks, strict=True)])
        following = builder.add(place, _const(1))
        place.add_incoming(following, builder.block)
        for mine, new in zip(sums, totals, strict=True):
            for phi, total in zip(mine, new, strict=True):
                phi.add_incoming(total, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, pairs), loop, done)
        builder.position_at_end(done)
        half = ir.VectorType(_I16, LANES)
        for number in range(vectors):
            extra = _load(builder, builder.add(bias, _const(4 * LANES * number)), _FLOATS, align=4)
            for row, new in enumerate(totals):
                start = builder.add(y, builder.mul(y_bytes, _const(row)))
                start = builder.add(start, _const(2 * LANES * number))
                value = _rounded(builder, builder.fadd(new[number], extra), _PAIRS, half)
                builder.store(value, builder.inttoptr(start, half.as_pointer()), align=2)
        return None

    def product(_context, weights, unit_bytes, x, x_bytes, pairs, bias, y, y_bytes):
        return types.void(*[types.intp] * 8), _returning_nothing(emit)

    return intrinsic(product)


def _returning_nothing(emit: Callable[..., None]) -> Callable[..., Any]:
    def codegen(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit(target, builder, signature, args)
        return target.get_dummy_value()

    return codegen


def _dot_pair(builder: Any, pair: Any) -> Callable[[Any, Any], Any]:
    """Add the products of a pair of inputs with the processor's dot-product instruction."""
    kind = ir.FunctionType(_FLOATS, [_FLOATS, _BFLOATS, _BFLOATS])
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    dot = cgutils.get_or_insert_function(builder.module, kind, name)
    x = builder.bitcast(pair, _BFLOATS)
    return lambda total, block: builder.call(dot, [total, x, builder.bitcast(block, _BFLOATS)])


def _multiply_twice(builder: Any, pair: Any) -> Callable[[Any, Any], Any]:
    """Add the products of a pair of inputs with two fused multiply-adds."""
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    fma = cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32")
    x = _widened(builder, pair)

    def step(total: Any, block: Any) -> Any:
        for value, weight in zip(x, _widened(builder, block), strict=True):
            total = builder.call(fma, [weight, value, total])
        return total

    return step


def _widened(builder: Any, pairs: Any) -> tuple[Any, Any]:
    """The first and the second element of each pair, as float32."""
    first = builder.shl(pairs, ir.Constant(_PAIRS, [16] * LANES))
    second = builder.and_(pairs, ir.Constant(_PAIRS, [-65536] * LANES))
    return builder.bitcast(first, _FLOATS), builder.bitcast(second, _FLOATS)


def _rounded(builder: Any, value: Any, bits_type: Any, result: Any) -> Any:
    """Bits of the nearest bfloat16, ties to even; NaN stays NaN."""

    def const(kind: Any, number: int) -> Any:
        vector = isinstance(kind, ir.VectorType)
        return ir.Constant(kind, [number] * LANES if vector else number)

    bits = builder.bitcast(value, bits_type)
    upper = builder.lshr(bits, const(bits_type, 16))
    odd = builder.and_(upper, const(bits_type, 1))
    up = builder.add(builder.add(bits, odd), const(bits_type, 0x7FFF))
    nearest = builder.lshr(up, const(bits_type, 16))
    nan = builder.fcmp_unordered("uno", value, value)
    nearest = builder.select(nan, builder.or_(upper, const(bits_type, 0x40)), nearest)
    return builder.trunc(nearest, result)


def _load(builder: Any, address: Any, kind: Any, *, align: int) -> Any:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=align)


def _splat(builder: Any, value: Any) -> Any:
    empty = ir.Constant(_PAIRS, ir.Undefined)
    single = builder.insert_element(empty, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(single, empty, ir.Constant(_PAIRS, [0] * LANES))


def _const(number: int) -> Any:
    return ir.Constant(_I64, number)
