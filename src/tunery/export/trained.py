"""Load a trained model for an export: tokenizer, template, base model and adapter."""

from __future__ import annotations

import copy
import gc
import importlib.metadata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunery.chat.messages import in_parts
from tunery.chat.template import ChatTemplate
from tunery.errors import ExportError
from tunery.export import parity
from tunery.export.order import Order, Stage, silent
from tunery.i18n import t
from tunery.models.attach import load_adapter, unlike_file, vocabulary_rows
from tunery.models.computes import load_computing
from tunery.models.facts import UNBOUNDED, context_length
from tunery.models.files import CONFIG, read_json
from tunery.models.load import (
    load_tokenizer,
    pick_device,
)
from tunery.types import Message


class Trained:
    """A trained model in memory, with its outputs on the parity prompts.

    Args:
        order: The export to load it for.
        stage: Told what is being done.

    Raises:
        ModelError: A part of it is missing or broken.
    """

    def __init__(self, order: Order, stage: Stage = silent) -> None:
        self.order = order
        self.stage = stage
        self.device = pick_device(order.device)
        self.template = ChatTemplate.load(
            load_tokenizer(_tokenizer_folder(order)), order.template, model=order.folder
        )
        self.questions = parity.general_prompts()
        seen = self._on_quantized_base() if order.quantization is not None else None
        stage(t("loading the trained model"), 0, 0)
        found = load_computing(order.folder, dtype=order.dtype, device=self.device)
        self.model: Any = found.model
        self.dtype = found.dtype
        if order.adapter is not None:
            self.model = load_adapter(self.model, order.adapter, resize=True).eval()
        self.witness = parity.witness(
            self.model,
            self._prompts(),
            stop_ids=self.template.stop_ids,
            base=self._base_logits if order.adapter is not None else None,
            stage=stage,
        )
        self.quantized: parity.Parity | None = None
        """The trained model compared with the adapter on the quantized base of the training."""
        if seen is not None:
            self.quantized = parity.compare(
                self.model,
                seen,
                say=lambda prompts: self.witness.answers,
                tolerance=self.tolerance,
                stage=stage,
            )

    @property
    def tolerance(self) -> parity.Tolerance:
        """The difference allowed between what was trained and what is written."""
        return parity.TOLERANCES[self.dtype]

    def tokenizer(self) -> Any:
        """The tokenizer to write, with the chat template used in training."""
        tokenizer = copy.deepcopy(self.template.tokenizer)
        tokenizer.chat_template = self.template.chat_template
        return tokenizer

    def stop_ids(self) -> list[int]:
        """All stop tokens of the trained model, for generation_config.json."""
        config = self.model.generation_config
        eos = config.eos_token_id if config is not None else None
        own = eos if isinstance(eos, list) else [] if eos is None else [eos]
        return sorted({*self.template.stop_ids, *own})

    def check_reopened(self, folder: Path) -> parity.Parity:
        """Open a written folder with plain transformers and compare it with the trained model.

        Raises:
            ExportError: It cannot be opened, or does not match.
        """
        self.stage(t("opening the export with transformers"), 0, 0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # only the model's outputs matter here
                tokenizer = AutoTokenizer.from_pretrained(folder)
                model = self._open(folder)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise _unequal([f"transformers cannot open it: {error}"]) from error
        self._check_prompts(tokenizer)
        found = parity.compare(
            model,
            self.witness,
            say=lambda prompts: plain_answers(model, prompts, sorted(self.template.stop_ids)),
            tolerance=self.tolerance,
            stage=self.stage,
        )
        problems = found.problems(self.tolerance)
        if problems:
            raise _unequal(problems)
        return found

    def release(self) -> None:
        """Release the model; its recorded outputs are kept."""
        self.model = None

    def _open(self, folder: Path) -> nn.Module:
        is_adapter = (folder / "adapter_config.json").is_file()
        model = AutoModelForCausalLM.from_pretrained(
            self.order.folder if is_adapter else folder, dtype=self.dtype
        )
        if is_adapter:
            rows = vocabulary_rows(model, folder / "adapter_model.safetensors")
            if rows is not None:
                model.resize_token_embeddings(rows, mean_resizing=False)
            model = PeftModel.from_pretrained(model, str(folder))
            _check_read_back(model, folder)
        return nn.Module.to(model, torch.device(self.device)).eval()

    def _on_quantized_base(self) -> parity.Witness:
        """Record the outputs of the adapter on the base that it was trained on, and release it."""
        order = self.order
        assert order.quantization is not None
        assert order.adapter is not None
        quantizer = order.quantization.make()
        self.stage(t("loading the quantized base of the training"), 0, 0)
        found = load_computing(
            order.folder, dtype=order.dtype, device=self.device, quantizer=quantizer
        )
        model = load_adapter(found.model, order.adapter).eval()
        seen = parity.witness(
            model, self._prompts(), stop_ids=self.template.stop_ids, stage=self.stage
        )
        del model, found
        gc.collect()
        return seen

    def _prompts(self) -> list[list[int]]:
        return [self._prompt(question.content) for question in self.questions]

    @property
    def _most(self) -> int:
        """Tokens of a prompt that leave room for the answer."""
        limit = context_length(read_json(self.order.folder / CONFIG)) or UNBOUNDED
        return max(limit - parity.MAX_NEW_TOKENS, 1)

    def _prompt(self, text: str) -> list[int]:
        return self.template.prompt_ids([Message("user", text)])[: self._most]

    def _base_logits(self, ids: Sequence[int]) -> Tensor:
        with self.model.disable_adapter():
            return parity.row_logits(self.model, ids)

    def _check_prompts(self, tokenizer: Any) -> None:
        """Check that the written tokenizer encodes each question to the same token ids."""
        for question, expected in zip(self.questions, self.witness.prompts, strict=True):
            asked = {"role": "user", "content": question.content}
            ids = tokenizer.apply_chat_template(
                [in_parts(asked) if self.template.reads_parts else asked],
                add_generation_prompt=True,
                return_dict=True,
            )["input_ids"]
            if ids[: self._most] != expected:
                raise _unequal([f"the chat template gives other tokens for {question.content!r}"])


def _tokenizer_folder(order: Order) -> Path:
    """The adapter's own tokenizer if it has one (tokens were added), else the base's."""
    adapter = order.adapter
    brings = adapter is not None and (adapter / "tokenizer.json").is_file()
    return adapter if adapter is not None and brings else order.folder


@torch.inference_mode()
def plain_answers(
    model: Any, prompts: Sequence[Sequence[int]], stop_ids: list[int]
) -> list[list[int]]:
    """Answer greedily with transformers' own ``generate``, in one padded batch."""
    device = next(model.parameters()).device
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(list(prompt))
        mask[row, longest - len(prompt) :] = 1
    settings = copy.deepcopy(model.generation_config)
    # Force greedy decoding, overriding the model's own sampling defaults.
    settings.update(
        do_sample=False, temperature=1.0, top_p=1.0, top_k=50, repetition_penalty=1.0,
        max_length=None, max_new_tokens=parity.MAX_NEW_TOKENS, eos_token_id=stop_ids,
        pad_token_id=stop_ids[0],
    )  # fmt: skip
    output = model.generate(
        input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=settings
    )
    answers: list[list[int]] = []
    for row in output[:, longest:].tolist():
        end = next((place for place, token in enumerate(row) if token in stop_ids), len(row))
        answers.append(row[:end])
    return answers


def _check_read_back(model: PeftModel, folder: Path) -> None:
    """Reject an adapter that PEFT does not load completely, even if PEFT reports no error.

    Raises:
        ExportError: Some tensors do not reach the model.
    """
    lost = unlike_file(model, folder / "adapter_model.safetensors")
    if lost:
        raise ExportError(
            t(
                "PEFT {version} cannot load this adapter: {count} of its tensors are not "
                "applied to a {kind} model ({name} ...).",
                version=importlib.metadata.version("peft"),
                count=len(lost),
                kind=str(model.config.model_type),
                name=lost[0],
            ),
            fix=t("Nothing was written. Export the full model instead: --to merged."),
        )


def _unequal(problems: list[str]) -> ExportError:
    return ExportError(
        t("The export does not match the trained model: {why}.", why="; ".join(problems)),
        fix=t(
            "Nothing was written. Rounding can hide a small change: try --dtype fp32, or "
            "export the adapter. If fp32 does not match either, report it with the model "
            "name."
        ),
    )
