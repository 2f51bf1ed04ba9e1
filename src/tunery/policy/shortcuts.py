"""Determines which shortcuts are exact for a model, once, with a few random tokens.

Two things differ between models: whether the vocabulary projection may bypass the model's own
head, and whether the rows of a packed batch give the same results as alone. Both are tested, not
looked up, so a new architecture gets the shortcuts that hold for it and never a wrong number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from tunery.data.collate import Batch, collate
from tunery.data.groups import TokenRow
from tunery.errors import ModelError
from tunery.i18n import language, t
from tunery.kernels import attention, lora, norm
from tunery.kernels.attention import base_model
from tunery.kernels.loss import Head
from tunery.kernels.segments import Segments
from tunery.memory import is_out_of_memory
from tunery.models import heads
from tunery.models.heads import scalar_head
from tunery.policy.noise import noisy


@dataclass(frozen=True, slots=True)
class Ways:
    """The shortcuts that hold for a model.

    Args:
        packed: Whether rows may share a batch.
        head: The model's operations on its logits; None if only its own head can compute them. For
            a scalar head: not None if it may be applied to the last hidden state.
        why: Reasons for the slow way, as messages; empty if both shortcuts hold.
        rope_limit: Rows longer than this change the positions of all rows in their batch (dynamic
            and longrope scaling), so they are not packed.
    """

    packed: bool
    head: Head | None
    why: tuple[str, ...] = ()
    rope_limit: int | None = None

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Ways:
        """Parse the output of ``dataclasses.asdict``."""
        head = plain["head"]
        return cls(**{**plain, "head": head and Head(**head), "why": tuple(plain["why"])})

    def pack(self, batch: Batch) -> bool:
        """Whether this batch may be computed packed."""
        return self.packed and (self.rope_limit is None or batch.longest <= self.rope_limit)


_known: WeakKeyDictionary[nn.Module, Ways] = WeakKeyDictionary()


class Memory(Protocol):
    """A store of facts about a model that persists between runs; see ``measure.known``."""

    def recall(self, **question: Any) -> Any | None:
        """Return the stored value, or None."""

    def keep(self, value: Any, **question: Any) -> None:
        """Store a value."""


def prepare(model: nn.Module, memory: Memory | None = None) -> Ways:
    """Install every kernel that fits; call it again after attaching or removing adapters.

    Args:
        model: The model, with or without an adapter.
        memory: The cache for this base model; read before the model is tested, then updated.
    """
    lora.install(model)
    norm.install(model)
    return shortcuts(model, memory)


def shortcuts(model: nn.Module, memory: Memory | None = None) -> Ways:
    """Determine the shortcuts, once per model object; installs the packed attention.

    Raises:
        ModelError: The model's own forward pass fails.
    """
    base = base_model(model)
    kept = memory.recall(ways=language()) if memory is not None and base not in _known else None
    if kept is not None:
        _known[base] = Ways.of(kept)
        if _known[base].packed:
            attention.install(base)
    if base not in _known:
        was_training = base.training
        base.eval()
        try:
            with torch.no_grad():
                _known[base] = _probe(base)
        finally:
            base.train(was_training)
        if memory is not None:
            memory.keep(dataclasses.asdict(_known[base]), ways=language())
    return _known[base]


def decode(base: Any, batch: Batch, *, packed: bool) -> Tensor:
    """Last hidden states ``[N, D]``, after the final norm and before the vocabulary projection."""
    decoder = _decoder(base)
    with noisy(base, batch):
        out = decoder(use_cache=False, **inputs(batch)) if not packed else None
        if out is None:
            segments = Segments(batch.lengths, batch.parents, batch.input_ids.device)
            with attention.packed(segments):
                # Also passed to the layers: recomputation under checkpointing runs outside it.
                out = decoder(use_cache=False, segments=segments, **inputs(batch, packed=True))
    # A model without a decoder of its own returns logits: good enough to compare rows with.
    return (out.last_hidden_state if hasattr(out, "last_hidden_state") else out.logits)[0]


def _decoder(base: Any) -> Any:
    found = base.get_decoder()
    # transformers looks for an attribute named decoder, which is the projection in some models
    return base.base_model if found is base.get_output_embeddings() else found


def inputs(batch: Batch, *, packed: bool = False) -> dict[str, Tensor]:
    """The model's arguments; for a single row, the model computes the positions itself."""
    if not packed:
        return {"input_ids": batch.input_ids}
    return {"input_ids": batch.input_ids, "position_ids": batch.position_ids}


def project(base: Any, hidden_KD: Tensor, head: Head) -> Tensor:
    """Compute logits ``[K, V]`` with the model's projection layer and ``head``."""
    logits_KV = base.get_output_embeddings()(hidden_KD)
    if head.scale != 1.0:
        logits_KV = logits_KV * head.scale
    if head.softcap is not None:
        logits_KV = torch.tanh(logits_KV / head.softcap) * head.softcap
    return logits_KV


@torch.no_grad()
def check_runs(model: nn.Module) -> None:
    """Run the model's own forward pass on a few tokens.

    Raises:
        ModelError: It fails in the dtype of the weights.
    """
    base: Any = base_model(model)
    config = base.config.get_text_config(decoder=True)
    batch = _probe_batch(config.vocab_size).to(base.get_input_embeddings().weight.device)
    _own_forward(base, batch.one_by_one()[0])


def _own_forward(base: Any, single: Batch) -> Tensor:
    """The logits of the model's own forward pass. Shape ``[N, V]``."""
    try:
        return base(use_cache=False, **inputs(single)).logits[0]
    except Exception as error:  # any architecture's code: whatever it raises is reported
        if is_out_of_memory(error):
            raise
        dtype = str(base.get_input_embeddings().weight.dtype).removeprefix("torch.")
        raise ModelError(
            t("The model's own forward pass fails in {dtype}: {why}", dtype=dtype,
              why=_in_a_line(error)),
            fix=t("Set model.dtype to fp32.")
            if dtype != "float32"
            else t("Compare its config.json with the original, or use another model."),
            dtype=dtype,
        ) from error  # fmt: skip


def _probe(base: Any) -> Ways:
    why: list[str] = []
    packed = attention.install(base)
    config = base.config.get_text_config(decoder=True)
    batch = _probe_batch(config.vocab_size).to(base.get_input_embeddings().weight.device)
    singles = batch.one_by_one()
    if packed:
        together, failed = _tried(lambda: _rows(decode(base, batch, packed=True), batch))
        each, _ = _tried(lambda: _decode_each(base, singles))
        packed = together is not None and each is not None and _close(together, each)
    else:
        failed = ""
    if not packed:
        attention.uninstall(base)
        why.append(
            t("rows cannot be packed with this architecture, so rows are computed one at a time")
            + (f" ({failed})" if failed else "")
        )
    limit = _rope_limit(config)
    logits = _own_forward(base, singles[0])
    if (scalar := scalar_head(base)) is not None:
        return _scalar_ways(
            base, scalar[1], singles[0], logits, Ways(packed, Head(), tuple(why), limit)
        )
    if _decoder(base) is base or base.get_output_embeddings() is None:
        why.append(t("its decoder cannot be called without its head"))
        return Ways(packed, None, tuple(why), limit)
    known = _head(config)
    own, failed = _tried(lambda: project(base, decode(base, singles[0], packed=False), known))
    head: Head | None = known
    if own is None or not _close(own, logits):
        head = None
        why.append(
            t("its logits are not a plain projection of the last hidden state")
            + (f" ({failed})" if failed else "")
        )
    return Ways(packed, head, tuple(why), limit)


def _scalar_ways(base: Any, head: nn.Module, single: Batch, score: Tensor, ways: Ways) -> Ways:
    """The ways of a model with a scalar head: packed only where its head alone gives its score."""

    def own() -> Tensor:
        others = (single.input_ids[0] != heads.pad_id(base)).nonzero()[:, 0]
        place = int(others[-1]) if len(others) else 0
        return head(decode(base, single, packed=False)[place : place + 1])[0]

    found, failed = _tried(own)
    if found is not None and _close(found[None], score[None]):
        return ways
    if ways.packed:
        attention.uninstall(base)
    reason = t("its score is not a plain projection of the last hidden state")
    reason += f" ({failed})" if failed else ""
    return Ways(False, None, (*ways.why, reason), ways.rope_limit)


def _probe_batch(vocab_size: int) -> Batch:
    """Two rows with a common prefix and one more: all the cases of a packed batch."""
    ids = np.random.default_rng(0).integers(0, vocab_size, 40)
    rows = [ids[:26], np.concatenate([ids[:20], ids[26:31]]), ids[31:]]
    return collate([TokenRow(row, np.ones(len(row), dtype=bool)) for row in rows], trim=False)


def _tried(compute: Callable[[], Tensor]) -> tuple[Tensor | None, str]:
    """Return the result of a shortcut, or None and why it failed.

    A shortcut that does not fit an architecture fails in that architecture's own code, with any
    exception; the exact way is used instead, and the reason is reported. Only running out of
    memory is raised.
    """
    try:
        return compute(), ""
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None, _in_a_line(error)


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else '?'}"


def _rows(hidden_ND: Tensor, batch: Batch) -> Tensor:
    return hidden_ND[torch.from_numpy(np.concatenate(batch.places)).to(hidden_ND.device)]


def _decode_each(base: Any, singles: list[Batch]) -> Tensor:
    return torch.cat([decode(base, single, packed=False) for single in singles])


def _close(found: Tensor, expected: Tensor) -> bool:
    """Whether both are equal up to rounding for nearly all tokens: a router may flip on one."""
    if found.shape != expected.shape:
        return False
    tolerance = 1e-3 if expected.dtype == torch.float32 else 6e-2
    found, expected = found.float(), expected.float()
    error = (found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-12)
    return bool((error <= tolerance).float().mean() > 0.75)


def _head(config: Any) -> Head:
    """The scale and soft cap that transformers' models specify in their configs."""
    scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere multiplies
    divisor = getattr(config, "logits_scaling", None)  # Granite divides
    if divisor:
        scale /= float(divisor)
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(scale, float(softcap) if softcap else None)


def _rope_limit(config: Any) -> int | None:
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    for kind in kinds:
        if kind.get("rope_type") in ("dynamic", "longrope"):
            limit = kind.get("original_max_position_embeddings")
            return int(limit or config.max_position_embeddings)
    return None
