"""The layers of the lean pass by our own kernels: a step in one call, weights read at memory speed.

Only what a step needs seldom stays with torch: the attention of a prompt's blocks, and adapters,
between the jobs of a layer. Bits of a row do not depend on its neighbours, nor on their number.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from tunery.infer.cpu import UNIT, kernels
from tunery.infer.cpu.threads import together
from tunery.infer.kvcache import KvRow
from tunery.infer.lean_lora import Wearing
from tunery.infer.lean_spans import Span, read_blocks, turn
from tunery.infer.lean_weights import LayerWeights, Linear, Weights

QKV, ATTEND, OUT, ADD_OUT, GATE_UP, DOWN, ADD_DOWN = range(7)
JOBS = 7
"""A layer's jobs, in this order."""
FIRST_ROWS = 64


class _Packed:
    """A linear layer as ``kernels`` reads it: [O/32, W/2, 32, 2], outputs filled up to 32."""

    def __init__(self, linear: Linear) -> None:
        weight, bias = linear.weight, linear.bias
        self.outputs, self.width = weight.shape
        self.padded = -(-self.outputs // UNIT) * UNIT
        # Whole cache lines: the kernel's loads are aligned.
        buffer = torch.zeros(self.padded * self.width + 32, dtype=weight.dtype)
        skip = -buffer.data_ptr() % 64 // 2
        flat = buffer[skip : skip + self.padded * self.width]
        units = flat.view(-1, self.width // 2, UNIT, 2)
        whole = self.outputs // UNIT
        rows = weight[: whole * UNIT].view(whole, UNIT, -1, 2)
        units[:whole] = rows.transpose(1, 2)
        if whole * UNIT < self.outputs:
            rest = weight[whole * UNIT :].view(self.outputs - whole * UNIT, -1, 2)
            units[whole, :, : len(rest)] = rest.transpose(0, 1)
        self._weight = flat
        self._bias = torch.zeros(self.padded)
        if bias is not None:
            self._bias[: self.outputs] = bias.float()
        self.addresses = self._weight.data_ptr(), self._bias.data_ptr()


class _Buffers:
    """Room for the values of so many rows between the jobs of a layer."""

    def __init__(self, rows: int, sizes: dict[str, int], widest: int, threads: int) -> None:
        self.rows, self.threads = rows, threads
        made = {name: torch.zeros(rows, size, dtype=torch.bfloat16) for name, size in sizes.items()}
        self.x, self.qkv, self.answer = made["x"], made["qkv"], made["answer"]
        self.both, self.back = made["both"], made["back"]
        self.scratch = torch.empty(threads * rows * widest, dtype=torch.bfloat16)


class CpuLayers:
    """Decoder layers and head.

    Args:
        weights: Those of a model for which ``cpu.able`` holds.
    """

    min_rows = 1
    row_bits = True

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._linears = [_Packed(linear) for linear in weights.linears]
        self._head = self._linears[-1]
        self._room = self._make_room(FIRST_ROWS, torch.get_num_threads())
        self._plan = self._make_plan()
        self._alone = torch.zeros(1, kernels.TABLE_FIELDS, dtype=torch.int64)
        self._looking = torch.empty(0)

    def forward(
        self,
        index: Tensor,
        rope: tuple[Tensor, Tensor],
        spans: Sequence[Span],
        wearing: Sequence[Wearing],
    ) -> Tensor:
        """As ``TorchLayers.forward``; an adapter wants at least two rows."""
        rows = index.shape[1]
        threads = torch.get_num_threads()
        if rows > self._room.rows or threads != self._room.threads:
            self._room = self._make_room(rows if rows <= self._room.rows else 2 * rows, threads)
            self._plan = self._make_plan()
        x_NW = self._room.x[:rows]
        torch.index_select(self.weights.embedding, 0, index[0], out=x_NW)
        self._prepare(rows, rope, spans)
        layers = len(self.weights.layers)
        blocks = [span for span in spans if span.blocks]
        if wearing or blocks:
            turns = (rope[0][index[1]], rope[1][index[1]]) if blocks else rope
            for number, layer in enumerate(self.weights.layers):
                self._by_turns(number, layer, rows, turns, blocks, wearing)
        else:
            self._run(0, layers * JOBS)
        return self._logits(x_NW, [span.last for span in spans if span.wanted])

    def _by_turns(
        self,
        number: int,
        layer: LayerWeights,
        rows: int,
        rope: tuple[Tensor, Tensor],
        blocks: Sequence[Span],
        wearing: Sequence[Wearing],
    ) -> None:
        """One layer, with what torch does between its jobs."""
        room, at = self._room, number * JOBS
        qkv, answer, both, back = (y[:rows] for y in (room.qkv, room.answer, room.both, room.back))
        self._run(at + QKV, at + QKV + 1)
        for worn in wearing:
            worn.add(number, "qkv", self._prepared(rows, room.x), qkv)
        if blocks:
            heads = qkv.view(rows, -1, self.weights.head_dim)
            for span in blocks:
                first, last = span.at, span.at + span.blocks[-1].last - span.start
                turn(
                    heads[first:last],
                    (rope[0][first:last], rope[1][first:last]),
                    layer,
                    self.weights,
                )
                read_blocks(number, span, heads, answer, self.weights)
        if not wearing:
            self._run(at + ATTEND, at + JOBS)
            return
        self._run(at + ATTEND, at + OUT + 1)
        for worn in wearing:
            worn.add(number, "out", answer, back)
        self._run(at + ADD_OUT, at + GATE_UP + 1)
        for worn in wearing:
            worn.add(number, "gate_up", self._prepared(rows, room.x), both)
        self._run(at + DOWN, at + DOWN + 1)
        for worn in wearing:
            inner = self._prepared(rows, room.both[:, room.both.shape[1] // 2 :])
            worn.add(number, "down", inner, back)
        self._run(at + ADD_DOWN, at + ADD_DOWN + 1)

    def _logits(self, x_NW: Tensor, lasts: list[int]) -> Tensor:
        head = self._head
        logits = x_NW.new_empty(len(lasts), head.padded)
        if lasts:
            chosen = x_NW if lasts == list(range(len(x_NW))) else x_NW[lasts]
            job = self._product(head, chosen, logits, kernels.NORMED, self.weights.norm)
            job[6] = len(lasts)
            self._plan[-1] = torch.tensor(job)
            self._run(len(self._plan) - 1, len(self._plan))
        return logits[:, : head.outputs]

    def _prepared(self, rows: int, like: Tensor) -> Tensor:
        """The rows as the last product multiplied them."""
        width = like.shape[1]
        return self._room.scratch[: rows * width].view(rows, width)

    def _run(self, first: int, last: int) -> None:
        jobs = self._plan.data_ptr() + 8 * kernels.FIELDS * first
        eps = struct.unpack("<i", struct.pack("<f", self.weights.eps))[0]
        head = torch.tensor([last - first, self._room.threads, eps, jobs])
        together(kernels.WORK, head.data_ptr(), self._room.threads)

    def _prepare(self, rows: int, rope: tuple[Tensor, Tensor], spans: Sequence[Span]) -> None:
        """Write what changes from step to step into the jobs."""
        weights, layers = self.weights, len(self.weights.layers)
        alone = [_told(span) for span in spans if span.last_alone]
        self._alone = torch.tensor(alone or [[0] * kernels.TABLE_FIELDS])
        longest = max((told[4] for told in alone), default=0)
        need = 3 * weights.head_dim + longest
        if len(self._looking) < need * self._room.threads:
            self._looking = torch.empty(2 * need * self._room.threads)
        jobs = self._plan[:-1].view(layers, JOBS, kernels.FIELDS)
        for job in (QKV, OUT, GATE_UP, DOWN):
            jobs[:, job, 6] = rows
        for job in (ADD_OUT, ADD_DOWN):
            jobs[:, job, 3] = rows * self._room.x.shape[1]
        attend = jobs[:, ATTEND]
        attend[:, 1], attend[:, 2] = self._alone.data_ptr(), len(alone)
        attend[:, 6], attend[:, 7] = rope[0].data_ptr(), rope[1].data_ptr()
        attend[:, 13], attend[:, 14] = self._looking.data_ptr(), 4 * need

    def _make_room(self, rows: int, threads: int) -> _Buffers:
        qkv, out, gate_up, down = self._linears[:4]
        sizes = {
            "x": qkv.width, "qkv": qkv.outputs, "answer": out.width,
            "both": gate_up.outputs, "back": down.outputs,
        }  # fmt: skip
        widest = max(qkv.width, down.width)
        return _Buffers(rows, sizes, widest, threads)

    def _make_plan(self) -> Tensor:
        """All jobs of a step, [layers * 7 + 1, fields]; the head's is written when it runs."""
        weights, room = self.weights, self._room
        plan: list[list[int]] = []
        linears = iter(self._linears)
        for number, layer in enumerate(weights.layers):
            qkv, out, gate_up, down = (next(linears) for _ in range(4))
            norms = [0 if w is None else w.data_ptr() for w in (layer.q_norm, layer.k_norm)]
            add = _job(kernels.ADD, room.x.data_ptr(), room.back.data_ptr())
            plan += [
                self._product(qkv, room.x, room.qkv, kernels.NORMED, layer.norm),
                _job(
                    kernels.ATTEND, 0, 0, number, room.qkv.data_ptr(), room.answer.data_ptr(), 0, 0,
                    *norms, weights.heads, weights.kv_heads, weights.head_dim,
                ),
                self._product(out, room.answer, room.back, kernels.PLAIN, None),
                add,
                self._product(gate_up, room.x, room.both, kernels.NORMED, layer.norm_mlp),
                self._product(down, room.both, room.back, kernels.GATED, None),
                add,
            ]  # fmt: skip
        return torch.tensor([*plan, _job(kernels.PRODUCT)])

    def _product(
        self, linear: _Packed, x: Tensor, y: Tensor, before: int, norm: Tensor | None
    ) -> list[int]:
        return _job(
            kernels.PRODUCT, *linear.addresses, x.data_ptr(), y.data_ptr(),
            self._room.scratch.data_ptr(), 0, linear.width, linear.padded, before,
            0 if norm is None else norm.data_ptr(),
        )  # fmt: skip


def _job(*fields: int) -> list[int]:
    return [*fields, *[0] * (kernels.FIELDS - len(fields))]


def _told(span: Span) -> list[int]:
    row: KvRow = span.row
    return [span.last, *row.addresses, span.end]
