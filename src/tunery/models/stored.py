"""How the weights of a model folder are stored; light, from its ``config.json``."""

from __future__ import annotations

from pathlib import Path

from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import files


def check_unquantized(folder: Path) -> None:
    """Refuse a model whose files hold quantized weights, such as GPTQ, AWQ, FP8 or MXFP4.

    Raises:
        ModelError: They do; the format is named.
    """
    quantized = files.read_json(folder / files.CONFIG).get("quantization_config")
    if not quantized:
        return
    method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
    raise ModelError(
        t("{folder}: the weights are quantized ({method}).", folder=folder, method=method),
        fix=t("Use the version that is not quantized; quantization.type can make it small."),
        path=folder,
    )
