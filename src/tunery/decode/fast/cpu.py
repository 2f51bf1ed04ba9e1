"""Layers of the fast pass with our own CPU kernels: one call per step, at memory bandwidth.

Only the attention of prompt blocks is left to torch, between the jobs of a layer. The bits of a row
depend neither on the other rows nor on their number.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tunery.decode.cache import KvRow
from tunery.decode.fast.lora import GROUPS, ActiveLora, LoraLayers
from tunery.decode.fast.spans import Span, read_blocks, turn
from tunery.decode.fast.weights import LayerWeights, Linear, Weights
from tunery.kernels.cpu import compiled
from tunery.kernels.cpu import layout as kernels
from tunery.kernels.cpu.layout import UNIT
from tunery.kernels.cpu.threads import together

FIRST_ROWS = 64
MOST_PLANS = 64
"""Plans to keep; each set of adapters active together has its own."""


class _Packed:
    """A linear layer in the kernels' layout: [O/32, W/2, 32, 2], outputs padded to 32."""

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
    """Buffers for the values of a number of rows between the jobs of a layer."""

    def __init__(self, rows: int, sizes: dict[str, int], widest: int, threads: int) -> None:
        self.rows, self.threads = rows, threads
        made = {name: torch.zeros(rows, size, dtype=torch.bfloat16) for name, size in sizes.items()}
        self.x, self.qkv, self.answer = made["x"], made["qkv"], made["answer"]
        self.both, self.back = made["both"], made["back"]
        self.scratch = torch.empty(threads * rows * widest, dtype=torch.bfloat16)


class _Adapter:
    """An adapter in the kernels' layout: float32, with B transposed to [R, O]."""

    def __init__(self, layers: LoraLayers) -> None:
        self.pairs = [
            {
                group: None if p is None else (p.a.float().contiguous(), p.b.float().T.contiguous())
                for group, p in pairs.items()
            }
            for pairs in layers.pairs
        ]
        found = [pair for pairs in self.pairs for pair in pairs.values() if pair is not None]
        self.scratch = max((sum(b.shape) for _, b in found), default=0)
        """Scratch values needed per thread."""


@dataclass(slots=True)
class _Plan:
    """The jobs of a step with a given set of active adapters.

    Args:
        jobs: [layers, jobs per layer, fields].
        places: Indices of a layer's jobs by kind: one of ``GROUPS``, ``attend``, ``add``, or
            ``adapter`` and its number.
    """

    jobs: Tensor
    places: dict[str, list[int]]


class CpuLayers:
    """Decoder layers and head.

    Args:
        weights: Weights of a model for which ``model.fit_for_kernels`` holds.
    """

    min_rows = 1
    row_bits = True

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._linears = [_Packed(linear) for linear in weights.linears]
        self._head = self._linears[-1]
        self._room = self._make_room(FIRST_ROWS, torch.get_num_threads())
        self._adapters: dict[LoraLayers, _Adapter] = {}
        self._plans: dict[tuple[LoraLayers, ...], _Plan] = {}
        self._told: list[Tensor] = []
        self._numbers = torch.empty(0)

    def forward(
        self,
        index: Tensor,
        rope: tuple[Tensor, Tensor],
        spans: Sequence[Span],
        active: Sequence[ActiveLora],
    ) -> Tensor:
        """See ``TorchLayers.forward``."""
        rows = index.shape[1]
        threads = torch.get_num_threads()
        if rows > self._room.rows or threads != self._room.threads:
            self._room = self._make_room(rows if rows <= self._room.rows else 2 * rows, threads)
            self._plans.clear()
        x_NW = self._room.x[:rows]
        torch.index_select(self.weights.embedding, 0, index[0], out=x_NW)
        plan = self._prepare(rows, rope, spans, active)
        blocks = [span for span in spans if span.blocks]
        if blocks:
            turns = rope[0][index[1]], rope[1][index[1]]
            (attend,) = plan.places["attend"]
            for number, layer in enumerate(self.weights.layers):
                self._run(plan.jobs[number, :attend])
                self._read(number, layer, rows, turns, blocks)
                self._run(plan.jobs[number, attend:])
        else:
            self._run(plan.jobs.flatten(0, 1))
        return self._logits(x_NW, [row for span in spans for row in span.asked])

    def _read(
        self,
        number: int,
        layer: LayerWeights,
        rows: int,
        rope: tuple[Tensor, Tensor],
        blocks: Sequence[Span],
    ) -> None:
        """Compute the attention of prompts in one layer, with torch."""
        qkv = self._room.qkv[:rows].view(rows, -1, self.weights.head_dim)
        answer = self._room.answer[:rows]
        for span in blocks:
            mine = slice(span.at, span.at + span.blocks[-1].last - span.start)
            turn(qkv[mine], (rope[0][mine], rope[1][mine]), layer, self.weights)
            read_blocks(number, span, qkv, answer, self.weights)

    def _logits(self, x_NW: Tensor, asked: list[int]) -> Tensor:
        head = self._head
        logits = x_NW.new_empty(len(asked), head.padded)
        if asked:
            chosen = x_NW if asked == list(range(len(x_NW))) else x_NW[asked]
            job = self._product(head, chosen, logits, kernels.NORMED, self.weights.norm)
            job[6] = len(asked)
            self._run(torch.tensor([job]))
        return logits[:, : head.outputs]

    def _run(self, jobs: Tensor) -> None:
        eps = struct.unpack("<i", struct.pack("<f", self.weights.eps))[0]
        head = torch.tensor([len(jobs), eps, jobs.data_ptr()])
        together(compiled.work(), head.data_ptr(), self._room.threads)

    def _prepare(
        self,
        rows: int,
        rope: tuple[Tensor, Tensor],
        spans: Sequence[Span],
        active: Sequence[ActiveLora],
    ) -> _Plan:
        """Return the plan of this step, with its variable fields written into the jobs."""
        adapters = tuple(each.layers for each in active)
        if adapters not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[adapters] = self._make_plan(adapters)
        plan = self._plans[adapters]
        jobs, places = plan.jobs, plan.places
        alone = [_told(span) for span in spans if span.last_alone]
        told = torch.tensor(alone or [[0] * kernels.TABLE_FIELDS])
        need = 3 * self.weights.head_dim + max((each[4] for each in alone), default=0)
        need = max(need, *(self._adapters[each].scratch for each in adapters), 1)
        need = -(-need // 16) * 16  # no two threads share a cache line
        if len(self._numbers) < need * self._room.threads:
            self._numbers = torch.empty(2 * need * self._room.threads)
        for place in [place for group in GROUPS for place in places[group]]:
            jobs[:, place, 6] = rows
        for place in places["add"]:
            jobs[:, place, 3] = rows * self._room.x.shape[1]
        for place in places["attend"]:
            jobs[:, place, 1], jobs[:, place, 2] = told.data_ptr(), len(alone)
            jobs[:, place, 6], jobs[:, place, 7] = rope[0].data_ptr(), rope[1].data_ptr()
            jobs[:, place, 13], jobs[:, place, 14] = self._numbers.data_ptr(), 4 * need
        self._told = [told]  # kept alive while the jobs point to them
        for number, each in enumerate(active):
            mine = torch.arange(rows) if each.rows is None else each.rows
            self._told.append(mine)
            for place in places[f"adapter {number}"]:
                jobs[:, place, 5], jobs[:, place, 6] = mine.data_ptr(), len(mine)
                jobs[:, place, 10], jobs[:, place, 11] = self._numbers.data_ptr(), 4 * need
        return plan

    def _make_room(self, rows: int, threads: int) -> _Buffers:
        qkv, out, gate_up, down = self._linears[:4]
        sizes = {
            "x": qkv.width, "qkv": qkv.outputs, "answer": out.width,
            "both": gate_up.outputs, "back": down.outputs,
        }  # fmt: skip
        widest = max(qkv.width, down.width)
        return _Buffers(rows, sizes, widest, threads)

    def _make_plan(self, adapters: Sequence[LoraLayers]) -> _Plan:
        for adapter in adapters:
            if adapter not in self._adapters:
                self._adapters[adapter] = _Adapter(adapter)
        layers = [self._layer_jobs(number, adapters) for number in range(len(self.weights.layers))]
        places: dict[str, list[int]] = {}
        for place, (kind, _) in enumerate(layers[0]):
            places.setdefault(kind, []).append(place)
        return _Plan(torch.tensor([[job for _, job in layer] for layer in layers]), places)

    def _layer_jobs(
        self, number: int, adapters: Sequence[LoraLayers]
    ) -> list[tuple[str, list[int]]]:
        """A layer's jobs in order, each with its kind."""
        weights, room, layer = self.weights, self._room, self.weights.layers[number]
        qkv, out, gate_up, down = self._linears[4 * number : 4 * number + 4]
        norms = [0 if w is None else w.data_ptr() for w in (layer.q_norm, layer.k_norm)]
        attend = _job(
            kernels.ATTEND, 0, 0, number, room.qkv.data_ptr(), room.answer.data_ptr(), 0, 0,
            *norms, weights.heads, weights.kv_heads, weights.head_dim,
        )  # fmt: skip
        add = _job(kernels.ADD, room.x.data_ptr(), room.back.data_ptr())

        def adapted(group: str, x: Tensor, y: Tensor) -> list[tuple[str, list[int]]]:
            found = []
            for place, adapter in enumerate(adapters):
                pair = self._adapters[adapter].pairs[number][group]
                job = _job(kernels.NOTHING)
                if pair is not None:
                    a, b = pair
                    job = _job(
                        kernels.ADAPT, a.data_ptr(), b.data_ptr(), x.data_ptr(), y.data_ptr(), 0, 0,
                        a.shape[1], b.shape[1], b.shape[0],
                    )  # fmt: skip
                found.append((f"adapter {place}", job))
            return found

        return [
            ("qkv", self._product(qkv, room.x, room.qkv, kernels.NORMED, layer.norm)),
            *adapted("qkv", room.scratch, room.qkv),
            ("attend", attend),
            ("out", self._product(out, room.answer, room.back, kernels.PLAIN, None)),
            *adapted("out", room.answer, room.back),
            ("add", add),
            ("gate_up", self._product(gate_up, room.x, room.both, kernels.NORMED, layer.norm_mlp)),
            *adapted("gate_up", room.scratch, room.both),
            ("down", self._product(down, room.both, room.back, kernels.GATED, None)),
            *adapted("down", room.scratch, room.back),
            ("add", add),
        ]

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
