"""Choose the dtype for ``model.dtype: auto``, the same for planning, training and chat.

``auto`` is bf16 if the hardware multiplies it. A few architectures mix in fp32 tensors and fail in
bf16; for them ``auto`` is fp32. ``load_computing`` tests this with a forward pass of a few tokens.
``expected_dtype`` does it before the weights are read, on torch's meta device.
"""

from __future__ import annotations

import functools
import gc
import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunery.config.methods.base import Produces
from tunery.memory import is_out_of_memory
from tunery.models.load import load_model, pick_dtype, skeleton
from tunery.models.quantized import Quantizer

log = logging.getLogger(__name__)
PROBE_TOKENS = 8
_MIXED = re.compile(r"scalar type|dtype|same type")


class Computing(NamedTuple):
    """A loaded model, in a dtype in which its forward pass works.

    Args:
        model: The model.
        dtype: The dtype of its weights.
        why: Why the usual dtype of ``auto`` was not used; empty if it was.
    """

    model: Any
    dtype: torch.dtype
    why: str = ""


def load_computing(
    folder: Path,
    *,
    dtype: str,
    device: str,
    produces: Produces = "text",
    quantizer: Quantizer | None = None,
) -> Computing:
    """Load a model in a dtype in which its forward pass works.

    Args:
        folder: The folder of a full model.
        dtype: The value of ``model.dtype``; only ``auto`` is tested.
        device: As returned by ``pick_device``.
        produces: As in ``load_model``.
        quantizer: As ``load_model`` takes it.

    Raises:
        ModelError: It cannot be loaded.
        ConfigError: The settings of the quantization do not fit the model.
    """
    chosen = pick_dtype(dtype, device)
    load = functools.partial(
        load_model, folder, device=device, produces=produces, quantizer=quantizer
    )
    model = load(dtype=chosen)
    if dtype != "auto" or chosen == torch.float32 or not (why := _failure(model)):
        return Computing(model, chosen)
    log.warning("%s cannot be computed in %s, so it is loaded in fp32: %s", folder, chosen, why)
    del model
    gc.collect()
    model = load(dtype=torch.float32)
    return Computing(model, torch.float32, why)


def expected_dtype(
    folder: Path, *, dtype: str, device: str, produces: Produces = "text"
) -> torch.dtype:
    """The dtype that ``load_computing`` will use, found without reading the weights.

    Raises:
        ModelError: The model's layers cannot be built.
    """
    chosen = pick_dtype(dtype, device)
    if dtype != "auto" or chosen == torch.float32:
        return chosen
    # On the meta device other things fail too (code that reads a value); only mixed dtypes count.
    mixes = _MIXED.search(_failure(skeleton(folder, dtype=chosen, produces=produces)))
    if mixes and not _MIXED.search(_failure(skeleton(folder, produces=produces))):
        return torch.float32
    return chosen


@torch.inference_mode()
def _failure(model: Any) -> str:
    """Why a forward pass of a few tokens fails; empty if it works."""
    size = model.config.get_text_config(decoder=True).vocab_size
    device = next(model.parameters()).device
    ids = torch.arange(PROBE_TOKENS, device=device)[None] % size
    try:
        with torch.device(device):  # for tensors that its code creates
            model.eval()(input_ids=ids, use_cache=False)
    except Exception as error:  # any architecture's code: every error is reported
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {error}"[:300] or type(error).__name__
    return ""
