"""Text embeddings: the last hidden states, pooled and normalized to unit length.

If the folder is a sentence-transformers model, its pooling configuration is used. Any other model
is a decoder, in which only the last token has read the whole text: its state is the embedding, as
in vLLM. Each text is read alone, so that its embedding never depends on the rest of the request.
Shapes: T tokens, H hidden size.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from torch import Tensor

from tunery.chat.control import unmark
from tunery.decode.prompts import check_scored
from tunery.decode.served import ServedModel
from tunery.engines.embed import Embedded
from tunery.errors import EngineError, TuneryError
from tunery.i18n import t
from tunery.memory import is_out_of_memory
from tunery.models import files

Pooling = Literal["last", "mean", "first"]
_FLAGS: dict[str, Pooling] = {
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
}
_POOLING_CONFIG = Path("1_Pooling") / "config.json"
MEMORY_LEFT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Embedder:
    """Computes embeddings with a served model; used on the generating thread.

    Args:
        model: The model.
    """

    model: ServedModel

    def ids(self, text: str, adapter: str | None) -> list[int]:
        """Tokenize a text, including the special tokens that the tokenizer adds to every text.

        Raises:
            EngineError: ``too_long``, or the text is empty.
        """
        model = self.model
        if model.surely_too_long(text):
            raise EngineError(
                t("The text is longer than the model's limit of {limit} tokens.",
                  limit=model.context_length),
                fix=t("Shorten it."),
                code="too_long",
            )  # fmt: skip
        template = model.template_for(adapter)
        before, after = _around(template.tokenizer)
        inner = template.encoder.encode(unmark(template.control.mark(text)))
        return self.check([*before, *inner, *after])

    def check(self, ids: Sequence[int]) -> list[int]:
        """Check token ids.

        Raises:
            EngineError: ``too_long``, or there are none, or one is not in the vocabulary.
        """
        if len(ids) > self.model.context_length:
            raise EngineError(
                t("The text has {found} tokens; the model supports at most {limit}.",
                  found=len(ids), limit=self.model.context_length),
                fix=t("Shorten it."),
                code="too_long",
            )  # fmt: skip
        return check_scored(self.model, ids)

    def make(self, ids: Sequence[int], adapter: str | None) -> Embedded:
        """Read the tokens and pool the last hidden states.

        Raises:
            EngineError: There is not enough memory, or the model provides no hidden states.
        """
        try:
            self._check_room()
            pooling = pooling_of(self.model.folder)
            states_TH = _states(self.model.switch.activate(adapter), ids)
        except EngineError:
            raise
        except TuneryError as error:  # the whole model cannot be loaded
            raise EngineError(error.message, fix=error.fix, code="bad_request") from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise _no_states(error) from error
            gc.collect()
            raise _no_memory() from error
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            raise _no_states(error) from error
        pooled_H = _pool(states_TH.float(), pooling)
        vector_H = torch.nn.functional.normalize(pooled_H, dim=0)
        return Embedded(tuple(vector_H.tolist()), len(ids))

    def _check_room(self) -> None:
        """Check memory: the whole model is loaded beside the fast pass when first needed."""
        if self.model.has_whole:
            return
        wanted = sum(file.stat().st_size for file in self.model.folder.glob("*.safetensors"))
        if not _check_free(wanted):
            raise _no_memory()


def _check_free(wanted: int) -> bool:
    """Whether this many bytes are free, plus a reserve."""
    return wanted + MEMORY_LEFT_BYTES <= psutil.virtual_memory().available


def pooling_of(folder: Path) -> Pooling:
    """The pooling of a model: as its folder specifies, otherwise the last token.

    Raises:
        EngineError: The specified pooling is not supported.
    """
    if not (folder / _POOLING_CONFIG).is_file():
        return "last"
    said = files.read_json(folder / _POOLING_CONFIG)
    on = [name for name, value in said.items() if name.startswith("pooling_mode_") and value]
    if len(on) != 1 or on[0] not in _FLAGS:
        raise EngineError(
            t("The model's 1_Pooling/config.json requires {names}, which is not supported.",
              names=", ".join(on) or "?"),
            fix=t("Supported: {names}.", names=", ".join(_FLAGS)),
            code="bad_request",
        )  # fmt: skip
    return _FLAGS[on[0]]


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that a tokenizer adds before and after every text, such as BOS or EOS."""
    whole: list[int] = tokenizer.encode("a")
    bare: list[int] = tokenizer.encode("a", add_special_tokens=False)
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return [], []


@torch.inference_mode()
def _states(model: Any, ids: Sequence[int]) -> Tensor:
    """The last layer's hidden states after the final norm, [T, H]."""
    decoder = model.base_model  # without the LM head
    device = next(model.parameters()).device
    ids_BT = torch.tensor([list(ids)], device=device)
    return decoder(input_ids=ids_BT, use_cache=False).last_hidden_state[0]


def _pool(states_TH: Tensor, pooling: Pooling) -> Tensor:
    match pooling:
        case "mean":
            return states_TH.mean(dim=0)
        case "first":
            return states_TH[0]
        case "last":
            return states_TH[-1]


def _no_memory() -> EngineError:
    return EngineError(
        t("There is not enough memory to compute embeddings."),
        fix=t("Shorten the text, close other programs, or serve a smaller model."),
        code="queue_full",
    )


def _no_states(error: Exception) -> EngineError:
    why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return EngineError(
        t("This model provides no hidden states for embeddings: {why}", why=why),
        fix=t("Serve another model."),
        code="bad_request",
    )
