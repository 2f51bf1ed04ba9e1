"""A loaded base model with everything a request needs: tokenizer, templates, adapters, both passes.

The fast pass (fast/) reads what it supports, the general one (general.py) everything else. An
adapter is attached when a request first uses it.
"""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from tunery.chat.template import ChatTemplate
from tunery.decode.cache import PrefixStore
from tunery.decode.fast import files as fast_files
from tunery.decode.fast.lora import LoraLayers, is_plain_lora
from tunery.decode.fast.model import FastModel, matches, understood
from tunery.decode.general import GeneralModel
from tunery.decode.switch import AdapterSwitch
from tunery.errors import EngineError, ModelError, TuneryError
from tunery.i18n import t
from tunery.models import files
from tunery.models.computes import load_computing
from tunery.models.facts import UNBOUNDED, context_length
from tunery.models.load import (
    load_model,
    load_tokenizer,
    pick_device,
    pick_dtype,
    quiet,
    shared_tokenizer,
)

if TYPE_CHECKING:
    from tunery.decode.grammar import Grammars

KEPT_SHARE = 0.05
"""Share of the free memory for prompts kept for the next turn."""


class ServedModel:
    """One base model in memory.

    Args:
        folder: The base model's folder.
        dtype: ``auto``, ``fp32`` or ``bf16``.
        device: As ``model.device``.
        fast: False always uses the general pass.

    Raises:
        ModelError: The folder cannot be loaded, or there is no such device.
    """

    def __init__(
        self, folder: Path, *, dtype: str = "auto", device: str = "auto", fast: bool = True
    ) -> None:
        self.folder = folder
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self._asked_dtype = dtype
        self._switch: AdapterSwitch | None = None
        self.fast: FastModel | None = None
        with ThreadPoolExecutor(1) as beside:
            tokenizer = beside.submit(_tokenizer, folder)
            try:
                if fast:
                    self._read()
            finally:  # if both are broken, the tokenizer's error is raised
                self.tokenizer: Any = tokenizer.result()
        if self.fast is None:  # only now: two threads must not import transformers at once
            self._load(fast=fast)
        self.template = ChatTemplate.load(self.tokenizer)
        self.prefixes = PrefixStore(int(psutil.virtual_memory().available * KEPT_SHARE))
        self.general = GeneralModel(lambda adapter: self.switch.activate(adapter))
        self.adapters: dict[str, str] = {}
        self._templates: dict[str, ChatTemplate] = {}
        self._grammars: Grammars | None = None
        self._longest = max((len(token) for token in self.tokenizer.get_vocab()), default=1)

    def _read(self) -> None:
        """Read the weights for the fast pass only, if it is known to support this model."""
        where = {"dtype": self.dtype, "device": self.device}
        if fast_files.known(self.folder, **where):
            model = fast_files.read(self.folder, **where)
            self.fast = FastModel(model)
            fast_files.free_linears(model)
            self._about(model.config.vocab_size)

    def _load(self, *, fast: bool) -> None:
        model, self.dtype, _ = load_computing(
            self.folder, dtype=self._asked_dtype, device=self.device
        )
        if fast and understood(model):
            self.fast = self._compared(model)
        if self.fast is not None and fast_files.known(
            self.folder, dtype=self.dtype, device=self.device
        ):
            # As at the next start: the fast pass alone takes half the memory of both.
            self.fast = model = None
            gc.collect()
            self._read()
        else:
            self._use(model)

    def _use(self, model: Any) -> None:
        """Use the whole model for everything that the fast pass does not support."""
        self._about(model.config.get_text_config().vocab_size)
        self._base = model
        self._switch = AdapterSwitch(model)

    def _about(self, vocab_size: int) -> None:
        declared = context_length(files.read_json(self.folder / files.CONFIG))
        self.context_length = declared or UNBOUNDED
        self.vocab_size = vocab_size

    @property
    def has_whole(self) -> bool:
        """Whether the whole model is loaded, beside what the fast pass reads."""
        return self._switch is not None

    @property
    def switch(self) -> AdapterSwitch:
        """The whole model, loaded when it is first needed; on the thread that generates."""
        if self._switch is None:
            self._use(load_model(self.folder, dtype=self.dtype, device=self.device))
        assert self._switch is not None
        return self._switch

    @property
    def dtype_name(self) -> str:
        """``fp32`` or ``bf16``."""
        return {torch.float32: "fp32", torch.bfloat16: "bf16"}.get(self.dtype, "fp16")

    def pass_for(self, adapter: str | None) -> FastModel | GeneralModel:
        """The forward pass for requests with this adapter (its attached name)."""
        if self.fast is not None and (adapter is None or adapter in self.fast.adapters):
            return self.fast
        return self.general

    def template_for(self, adapter: str | None, name: str | None = None) -> ChatTemplate:
        """The named template, otherwise that of the adapter's folder, otherwise the base model's.

        Raises:
            EngineError: ``bad_template``: there is no such template.
        """
        if name is None:
            return self._templates.get(adapter or "", self.template)
        key = f"name:{name}"
        if key not in self._templates:
            try:
                self._templates[key] = ChatTemplate.load(self.tokenizer, name)
            except TuneryError as error:
                raise EngineError(error.message, fix=error.fix, code="bad_template") from error
        return self._templates[key]

    def attach(self, folder: str) -> str:
        """Load an adapter folder once; return the name that activates it.

        Call it on the generating thread: it changes the model.

        Raises:
            EngineError: ``bad_adapter``: it is incomplete, or was trained for another base model.
        """
        path = Path(folder).resolve()
        stamp = _stamp(path)
        if stamp not in self.adapters:
            name = f"adapter{len(self.adapters)}"
            try:
                self.switch.attach(name, path)
                own = self._own_template(path)
            except TuneryError as error:
                raise EngineError(error.message, fix=error.fix, code="bad_adapter") from error
            if self.fast is not None and is_plain_lora(self.switch.model, name):
                self.fast.adapters[name] = LoraLayers(self._base, name)
            if own is not None:
                self._templates[name] = own
            self.adapters[stamp] = name
        return self.adapters[stamp]

    def attached(self, folder: str) -> str | None:
        """The name of an adapter that is already attached; None if it is not."""
        return self.adapters.get(_stamp(Path(folder).resolve()))

    def grammars(self) -> Grammars:
        """The factory of schema matchers, created on first use."""
        if self._grammars is None:
            from tunery.decode.grammar import Grammars

            self._grammars = Grammars(self.tokenizer, self.template.stop_id)
        return self._grammars

    def surely_too_long(self, text: str) -> bool:
        """Whether a text is certainly too long, without tokenizing it.

        No token encodes more bytes than the longest vocabulary entry has letters.
        """
        return len(text) > self.context_length * self._longest

    def _compared(self, model: Any) -> FastModel | None:
        fast = FastModel(model)
        if matches(fast, model):
            fast_files.remember(self.folder, dtype=self.dtype, device=self.device)
            return fast
        del fast
        gc.collect()
        return None

    def _own_template(self, path: Path) -> ChatTemplate | None:
        if not (path / "tokenizer_config.json").is_file():
            return None
        own = load_tokenizer(path)
        if not own.chat_template or len(own) != len(self.tokenizer):
            return None
        return ChatTemplate.load(own, model=self.folder)


def _tokenizer(folder: Path) -> Any:
    """Load the tokenizer; this imports transformers, which takes as long as reading the weights."""
    quiet()
    return shared_tokenizer(folder)


def _stamp(path: Path) -> str:
    """A fingerprint of an adapter; it changes when the adapter is retrained in the same folder."""
    try:
        stat = files.check_adapter(path).stat()
    except ModelError as error:
        raise EngineError(error.message, fix=error.fix, code="bad_adapter") from error
    except OSError as error:
        raise EngineError(
            t("The adapter in {folder} cannot be read.", folder=path), code="bad_adapter"
        ) from error
    return f"{path}:{stat.st_mtime_ns}:{stat.st_size}"
