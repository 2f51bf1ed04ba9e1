"""In which dtype a model computes where ``model.dtype`` is ``auto``: the same for every part of us.

``auto`` is bf16 where the hardware multiplies it. A few architectures mix in fp32 on their way and
fail then; for them ``auto`` is fp32. With weights at hand a few tokens are computed; a plan has
none, and computes shapes and dtypes alone, on torch's meta device.
"""

from __future__ import annotations

import gc
import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunery.memory import is_out_of_memory
from tunery.models.load import load_model, pick_dtype, skeleton
from tunery.models.quantized import Quantizer

log = logging.getLogger(__name__)
PROBE_TOKENS = 8
_MIXED = re.compile(r"scalar type|dtype|same type")


class Computing(NamedTuple):
    """A loaded model, in a dtype in which it can be computed.

    Args:
        model: The model.
        dtype: Of its weights.
        why: Why that is not the dtype that ``auto`` usually is; empty where it is.
    """

    model: Any
    dtype: torch.dtype
    why: str = ""


def load_computing(
    folder: Path, *, dtype: str, device: str, quantizer: Quantizer | None = None
) -> Computing:
    """Load a model in a dtype in which it can be computed.

    Args:
        folder: A whole model folder.
        dtype: As ``model.dtype``; another than ``auto`` is taken as it is.
        device: As ``pick_device`` gives it.
        quantizer: As ``load_model`` takes it.

    Raises:
        ModelError: It cannot be loaded.
        ConfigError: The settings of the quantization do not fit the model.
    """
    chosen = pick_dtype(dtype, device)
    model = load_model(folder, dtype=chosen, device=device, quantizer=quantizer)
    if dtype != "auto" or chosen == torch.float32 or not (why := _failure(model)):
        return Computing(model, chosen)
    log.warning("%s cannot be computed in %s, so it is loaded in fp32: %s", folder, chosen, why)
    del model
    gc.collect()
    model = load_model(folder, dtype=torch.float32, device=device, quantizer=quantizer)
    return Computing(model, torch.float32, why)


def expected_dtype(folder: Path, *, dtype: str, device: str) -> torch.dtype:
    """The dtype that ``load_computing`` will take, found without reading a weight.

    Raises:
        ModelError: The model's layers cannot be made.
    """
    chosen = pick_dtype(dtype, device)
    if dtype != "auto" or chosen == torch.float32:
        return chosen
    # Without weights much else may fail (a value that is looked at); only mixed dtypes count.
    mixes = _MIXED.search(_failure(skeleton(folder, dtype=chosen)))
    if mixes and not _MIXED.search(_failure(skeleton(folder))):
        return torch.float32
    return chosen


@torch.inference_mode()
def _failure(model: Any) -> str:
    """Why a few tokens cannot be computed; empty where they can."""
    size = model.config.get_text_config(decoder=True).vocab_size
    device = next(model.parameters()).device
    ids = torch.arange(PROBE_TOKENS, device=device)[None] % size
    try:
        with torch.device(device):  # what its code makes on the way has to be there too
            model.eval()(input_ids=ids, use_cache=False)
    except Exception as error:  # the code of any architecture: whatever it raises is reported
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {error}"[:300] or type(error).__name__
    return ""
