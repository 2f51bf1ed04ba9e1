"""A decoding step as a list of jobs that all threads process together, compiled once.

A job is an array of numbers: the operation, the addresses of its arrays, their sizes. All threads
do their share of a job, wait for each other, and continue with the next one, so a step costs one
call from Python instead of several thousand. Arrays hold bfloat16 bits unless noted otherwise.
Rounding is the same as in transformers' modules, so that greedy answers are the same. Results do
not depend on the number of rows or threads: each row is summed alone and in a fixed order. Shapes:
N rows, W width, O outputs, H heads, K key-value heads, D head dimension, T tokens in a cache.
"""

from __future__ import annotations

import math
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import njit, types

from tunery.kernels.cpu.instructions import (
    PAIR_BYTES,
    floats,
    halves,
    power_of_two,
    tile,
    to_bits,
    to_float,
    words,
)  # fmt: skip
from tunery.kernels.cpu.layout import (
    ADAPT,
    ADD,
    ATTEND,
    ENTRY,
    FIELDS,
    NORMED,
    PLAIN,
    PRODUCT,
    TABLE_FIELDS,
    UNIT,
)

barrier = types.ExternalFunction("GOMP_barrier", types.void())
thread_number = types.ExternalFunction("omp_get_thread_num", types.int32())
thread_count = types.ExternalFunction("omp_get_num_threads", types.int32())
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}
_four, _two, _one = tile(4, 2), tile(2, 2), tile(1, 2)
_four_half, _two_half, _one_half = tile(4, 1), tile(2, 1), tile(1, 1)
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693359375, -2.12194440e-4


@njit(**_OPTIONS)
def _exp(x):
    """e to the power of x in float32, within 2 ulp; x is clamped to [-87, 88]."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(x * np.float32(_LOG2_E) + np.float32(0.5))
    r = x - n * np.float32(_LN2_HIGH) - n * np.float32(_LN2_LOW)
    p = np.float32(1 / 5040)
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(0.5)
    p = p * r + np.float32(1.0)
    p = p * r + np.float32(1.0)
    return p * power_of_two(np.int32(n))


@njit(**_OPTIONS)
def _norm(x, weight, out, width, eps):
    """RMSNorm of one row: scaled in float32, rounded, weighted, rounded."""
    total = np.float32(0.0)
    for i in range(width):
        value = to_float(x[i])
        total += value * value
    scale = np.float32(1.0) / np.float32(math.sqrt(total / np.float32(width) + eps))
    for i in range(width):
        out[i] = to_bits(to_float(weight[i]) * to_float(to_bits(to_float(x[i]) * scale)))


@njit(**_OPTIONS)
def _gate(gate, up, out, width):
    """SiLU of ``gate`` times ``up``, each rounded."""
    for i in range(width):
        value = to_float(gate[i])
        opened = to_bits(value / (np.float32(1.0) + _exp(-value)))
        out[i] = to_bits(to_float(opened) * to_float(up[i]))


@njit(**_OPTIONS)
def _prepare(before, x, weight, out, rows, width, eps):
    """Prepare the rows of a product (``NORMED`` or ``GATED``), written to ``out``."""
    for row in range(rows):
        mine = halves(out + row * width * 2)
        if before == NORMED:
            _norm(halves(x + row * width * 2), halves(weight), mine, width, eps)
        else:
            gate = x + row * width * 4
            _gate(halves(gate), halves(gate + width * 2), mine, width)


@njit(**_OPTIONS)
def _product(job, eps, thread, threads):
    """``y = prepared(x) @ weights.T + bias``.

    Fields: 1 weights from ``pack``, 2 bias (float32, [O]), 3 x ([N, W], or [N, 2 W] for ``GATED``),
    4 y ([N, O]), 5 scratch ([threads, N, W]; holds the prepared rows afterwards), 6 N, 7 W, 8 O (a
    multiple of 32), 9 operation before the product, 10 weight of the norm.
    """
    weights, bias, x, y = job[1], job[2], job[3], job[4]
    rows, width, outputs = job[6], job[7], job[8]
    if job[9] != PLAIN:
        mine = job[5] + thread * rows * width * 2
        _prepare(job[9], x, job[10], mine, rows, width, eps)
        x = mine
    pairs, x_bytes, y_bytes = width // 2, width * 2, outputs * 2
    unit_bytes = pairs * PAIR_BYTES
    units = outputs // UNIT
    unit = units * thread // threads
    last = units * (thread + 1) // threads
    while unit < last:
        w = weights + unit * unit_bytes
        b = bias + unit * UNIT * 4
        out = y + unit * UNIT * 2
        a = x
        left = rows
        if unit + 2 <= last:
            while left >= 4:
                _four(w, unit_bytes, a, x_bytes, pairs, b, out, y_bytes)
                a, out, left = a + 4 * x_bytes, out + 4 * y_bytes, left - 4
            if left >= 2:
                _two(w, unit_bytes, a, x_bytes, pairs, b, out, y_bytes)
                a, out, left = a + 2 * x_bytes, out + 2 * y_bytes, left - 2
            if left == 1:
                _one(w, unit_bytes, a, x_bytes, pairs, b, out, y_bytes)
            unit += 2
        else:
            while left >= 4:
                _four_half(w, unit_bytes, a, x_bytes, pairs, b, out, y_bytes)
                a, out, left = a + 4 * x_bytes, out + 4 * y_bytes, left - 4
            if left >= 2:
                _two_half(w, unit_bytes, a, x_bytes, pairs, b, out, y_bytes)
                a, out, left = a + 2 * x_bytes, out + 2 * y_bytes, left - 2
            if left == 1:
                _one_half(w, unit_bytes, a, x_bytes, pairs, b, out, y_bytes)
            unit += 1


@njit(**_OPTIONS)
def _add(job, thread, threads):
    """``x += y``. Fields: 1 x, 2 y, 3 values."""
    first = job[3] * thread // threads
    last = job[3] * (thread + 1) // threads
    x, y = halves(job[1] + first * 2), halves(job[2] + first * 2)
    for i in range(last - first):
        x[i] = to_bits(to_float(x[i]) + to_float(y[i]))


@njit(**_OPTIONS)
def _adapt(job, thread, threads):
    """``y += x @ A.T @ B`` in float32, rounded once, for some of the rows.

    Fields: 1 A (float32, [R, W]), 2 B (float32, [R, O]), 3 x ([N, W]), 4 y ([N, O]), 5 the rows
    (int64), 6 their number, 7 W, 8 O, 9 R, 10 scratch, 11 its bytes per thread: R + O float32.
    """
    width, outputs, rank = job[7], job[8], job[9]
    first = outputs * thread // threads
    count = outputs * (thread + 1) // threads - first
    scratch = job[10] + thread * job[11]
    inner, sums = floats(scratch), floats(scratch + rank * 4)
    rows = words(job[5])
    for number in range(job[6]):
        x = halves(job[3] + rows[number] * width * 2)
        y = halves(job[4] + (rows[number] * outputs + first) * 2)
        for r in range(rank):
            a = floats(job[1] + r * width * 4)
            total = np.float32(0.0)
            for i in range(width):
                total += a[i] * to_float(x[i])
            inner[r] = total
        for i in range(count):
            sums[i] = to_float(y[i])
        for r in range(rank):
            b = floats(job[2] + (r * outputs + first) * 4)
            share = inner[r]
            for i in range(count):
                sums[i] += share * b[i]
        for i in range(count):
            y[i] = to_bits(sums[i])


@njit(**_OPTIONS)
def _turn(x, weight, cos, sin, eps, width, scratch, out):
    """A head's query or key: normalized if there is a weight, then with rotary embeddings."""
    source = halves(x)
    if weight != 0:
        _norm(source, halves(weight), halves(scratch), width, eps)
        source = halves(scratch)
    half = width // 2
    for i in range(half):
        left, right = to_float(source[i]), to_float(source[half + i])
        one = to_float(to_bits(left * to_float(cos[i])))
        other = to_float(to_bits(right * to_float(sin[i])))
        out[i] = to_bits(one + other)
        one = to_float(to_bits(right * to_float(cos[half + i])))
        other = to_float(to_bits(left * to_float(sin[half + i])))
        out[half + i] = to_bits(one + other)


@njit(**_OPTIONS)
def _look(query, keys, values, length, width, scores, sums, out):
    """Attention of one head over a cache of ``length`` tokens."""
    most = np.float32(-3.0e38)
    for t in range(length):
        key = halves(keys + t * width * 2)
        total = np.float32(0.0)
        for i in range(width):
            total += query[i] * to_float(key[i])
        scores[t] = total
        most = max(most, total)
    whole = np.float32(0.0)
    for t in range(length):
        share = _exp(scores[t] - most)
        scores[t] = share
        whole += share
    for i in range(width):
        sums[i] = np.float32(0.0)
    for t in range(length):
        value = halves(values + t * width * 2)
        share = scores[t]
        for i in range(width):
            sums[i] += share * to_float(value[i])
    for i in range(width):
        out[i] = to_bits(sums[i] / whole)


@njit(**_OPTIONS)
def _attend(job, eps, thread, threads):
    """Attend with one new token per row: store its key and value, then attend to the whole cache.

    Fields: 1 table (int64, [N, 5]: row in ``qkv``, address of the cache, its bytes per layer, its
    bytes per head, tokens in it including the new one), 2 N, 3 layer, 4 qkv ([rows, (H + 2 K) D]),
    5 answer ([rows, H D]), 6 cos ([positions, D]), 7 sin (as cos; its first half is negative), 8
    weight of the norm of queries or 0, 9 of keys, 10 H, 11 K, 12 D, 13 scratch, 14 its bytes per
    thread: 3 D + T float32.
    """
    heads, kv_heads, width = job[10], job[11], job[12]
    groups = heads // kv_heads
    scale = np.float32(1.0 / math.sqrt(width))
    scratch = job[13] + thread * job[14]
    query, sums = floats(scratch), floats(scratch + width * 4)
    spare, scores = scratch + 2 * width * 4, floats(scratch + 3 * width * 4)
    tasks = job[2] * kv_heads
    for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
        head = task % kv_heads
        row = words(job[1] + task // kv_heads * 8 * TABLE_FIELDS)
        head_bytes, length = row[3], row[4]
        keys = row[1] + job[3] * row[2] + head * head_bytes
        values = keys + kv_heads * head_bytes
        mine = job[4] + row[0] * (heads + 2 * kv_heads) * width * 2
        answer = job[5] + row[0] * heads * width * 2
        cos = halves(job[6] + (length - 1) * width * 2)
        sin = halves(job[7] + (length - 1) * width * 2)
        new = (length - 1) * width * 2
        mine_kv = mine + (heads + head) * width * 2
        _turn(mine_kv, job[9], cos, sin, eps, width, spare, halves(keys + new))
        from_, to = halves(mine_kv + kv_heads * width * 2), halves(values + new)
        for i in range(width):
            to[i] = from_[i]
        for group in range(groups):
            place = (head * groups + group) * width * 2
            turned = halves(spare + width * 2)
            _turn(mine + place, job[8], cos, sin, eps, width, spare, turned)
            for i in range(width):
                query[i] = to_float(turned[i]) * scale
            _look(query, keys, values, length, width, scores, sums, halves(answer + place))


@njit(types.void(types.intp), **_OPTIONS)
def _work(plan):
    """A thread's share of a plan: int64 [number of jobs, bits of eps, address of the jobs].

    Called by every thread of a parallel region.
    """
    head = words(plan)
    eps = floats(plan + 8)[0]
    thread, threads = types.intp(thread_number()), types.intp(thread_count())
    for number in range(head[0]):
        job = words(head[2] + 8 * FIELDS * number)
        if job[0] == PRODUCT:
            _product(job, eps, thread, threads)
        elif job[0] == ATTEND:
            _attend(job, eps, thread, threads)
        elif job[0] == ADD:
            _add(job, thread, threads)
        elif job[0] == ADAPT:
            _adapt(job, thread, threads)
        barrier()


def machine_code() -> bytes:
    """Compile ``_work`` to an object file with one function, ``ENTRY``, of type void(int64)."""
    (signature,) = _work.signatures
    found = _work.overloads[signature]
    library: Any = found.library
    inner = found.fndesc.llvm_func_name
    text = f"""{library.get_llvm_str()}
define void @{ENTRY}(i64 %plan) {{
  %result = alloca ptr
  %error = alloca ptr
  %status = call i32 @"{inner}"(ptr %result, ptr %error, i64 %plan)
  ret void
}}
"""
    module = llvm.parse_assembly(text)
    for function in module.functions:
        if not function.is_declaration and function.name != ENTRY:
            function.linkage = "internal"
    machine = library._codegen._tm
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options())
    # Drop the code for calls from Python: the linker then needs only OpenMP and libm.
    manager = llvm.create_new_module_pass_manager()
    manager.add_global_dead_code_eliminate_pass()
    manager.run(module, passes)
    return machine.emit_object(module)
