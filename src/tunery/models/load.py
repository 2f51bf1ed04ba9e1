"""Load models and tokenizers, for the whole product. For adapters, see ``models.attach``.

Heavy. Only safetensors are loaded, and code from the model's folder runs only with recorded
consent. A weight that is missing or not finite raises ``ModelError``. Nothing is downloaded.
"""

from __future__ import annotations

import functools
import logging
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tunery import panics
from tunery.config.methods.base import Produces
from tunery.errors import ModelError, panic_error
from tunery.i18n import t
from tunery.memory import is_out_of_memory
from tunery.models import consent, dimensions, files, heads, stored, tokenizer_sandbox
from tunery.models.architectures import causal_model_types
from tunery.models.quantized import Quantizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LIBRARY_ERRORS = (
    ValueError, OSError, LookupError, TypeError, AttributeError, ImportError, RuntimeError,
    SafetensorError, StrictDataclassError,
)  # fmt: skip
_PIP = re.compile(r"pip install ([A-Za-z0-9_.\-]+)")
_VALIDATOR = re.compile(r"^(?:Class|Type) validation error for [^\n]*\n\s*(?:\w*Error: )?")
FINITE_CHUNK = 2**24
"""Elements checked at once, so that the check needs little memory for a large weight."""


def quiet() -> None:
    """Silence transformers' progress bars and warnings in this process."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\b")


def pick_device(device: str) -> str:
    """Resolve ``auto`` to a device of this machine; check that another one exists.

    Returns:
        ``cpu`` or ``cuda:N``.

    Raises:
        ModelError: This machine has no such device.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda:0" if num_gpus else "cpu"
    if device == "cpu":
        return device
    number = device.removeprefix("cuda").removeprefix(":") or "0"
    if device.startswith("cuda") and number.isdigit() and int(number) < num_gpus:
        return f"cuda:{number}"
    have = ", ".join(["cpu", *(f"cuda:{i}" for i in range(num_gpus))])
    raise ModelError(
        t("model.device: device {device} not found.", device=device),
        fix=t("Available devices: {names}. Or use auto.", names=have),
    )


def pick_dtype(dtype: str, device: str) -> torch.dtype:
    """Resolve ``auto`` to bf16 if the hardware multiplies it, else to fp32.

    Args:
        dtype: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: As returned by ``pick_device``.
    """
    if dtype != "auto":
        return DTYPES[dtype]
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer, with its chat template if it has one.

    Raises:
        ModelError: The tokenizer is missing or invalid, or needs code without consent.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise ModelError(
            t("{folder}: the tokenizer is missing (no tokenizer.json).", folder=folder),
            fix=t("Copy the model's tokenizer files there, or download it again."),
            path=folder,
        )
    for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"):
        if (folder / name).is_file() and files.is_lfs_pointer(folder / name):
            raise files.lfs_pointer(folder, [name])
    tokenizer_sandbox.require(folder)
    try:
        with panics.native_call():
            return _tokenizer(folder)
    except BaseException as error:  # tokenizers raises plain Exception or panics
        if not isinstance(error, Exception) and panic_error(error) is None:
            raise
        consent.require_for_tokenizer(folder)
        raise ModelError(
            t(
                "{folder}: the tokenizer cannot be loaded: {why}",
                folder=folder,
                why=first_lines(error),
            ),
            fix=t("Download the model's tokenizer files again."),
            path=folder,
        ) from error


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    if _is_plain_tokenizer(folder):
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=consent.code_allowed(folder)
    )


@functools.lru_cache(maxsize=4)
def shared_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Like ``load_tokenizer``, but shared within the process; callers must not modify it."""
    return load_tokenizer(folder)


def _is_plain_tokenizer(folder: Path) -> bool:
    """Whether AutoTokenizer would choose the generic class; without asking it, which takes 2 s."""
    names = ("tokenizer.json", "tokenizer_config.json", files.CONFIG)
    if not all((folder / name).is_file() for name in names):
        return False
    said = files.read_json(folder / "tokenizer_config.json")
    plain = said.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend")
    kind = files.read_json(folder / files.CONFIG).get("model_type")
    return plain and kind == "llama" and "auto_map" not in said


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype,
    device: str,
    attention: str | None = None,
    produces: Produces = "text",
    quantizer: Quantizer | None = None,
) -> PreTrainedModel:
    """Load a model for training, generation or scoring, in eval mode.

    On the CPU, weights that have ``dtype`` in the file are memory-mapped, not copied; most of the
    time is then the check that every value is finite.

    Args:
        folder: The folder of a full model.
        dtype: Dtype of the weights in memory.
        device: As returned by ``pick_device``.
        attention: Attention implementation, as transformers names it; None for SDPA if the
            architecture supports it (Gemma 2 and gpt-oss do not), else eager.
        produces: ``scores`` loads it with a scalar head, random unless the folder has one.
        quantizer: Quantizes the linear layers as they are read; None keeps all weights.

    Raises:
        ConfigError: The settings of the quantization do not fit the model.
        ModelError: Files or weights are missing, damaged or not finite, the weights are quantized,
            the architecture is unknown, or the model needs code without consent.
    """
    weights = files.check_weights(folder)
    code = check_known(folder)
    kind, more = heads.auto_class(folder, produces)
    from transformers import AutoConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # its bar would interrupt ours, and loading is short
    quantized = {}
    if quantizer is not None:
        layers = skeleton(folder, dtype=dtype, produces=produces)
        quantized = quantizer.load_options(layers, dtype)
    try:
        result: Any = kind.from_pretrained(
            str(folder),
            config=AutoConfig.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=code, **more
            ),
            dtype=dtype,
            device_map=None if device == "cpu" else {"": device},
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=code,
            output_loading_info=True,
            **quantized,
        )
        model, info = result
    except LIBRARY_ERRORS as error:
        raise _unloadable(folder, error) from error
    _check_complete(folder, info, weights, new=heads.new_head(folder, model, produces))
    if quantized:
        assert quantizer is not None
        check_finite_files(folder)  # a quantized weight no longer shows it
        quantizer.after_load(model)
    else:
        check_finite(folder, dict(model.named_parameters()) | dict(model.named_buffers()))
    return model.eval()


def skeleton(
    folder: Path, *, dtype: torch.dtype = torch.float32, produces: Produces = "text"
) -> PreTrainedModel:
    """Build a model on torch's meta device: layers, names and shapes without weights.

    Args:
        folder: The folder of a full model.
        dtype: Dtype of the parameters.
        produces: As in ``load_model``.

    Raises:
        ModelError: The architecture is unknown, needs code without consent, or its config is
            invalid.
    """
    code = check_known(folder)
    kind, more = heads.auto_class(folder, produces)
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=code, **more
        )
        with torch.device("meta"):
            made: Any = kind.from_config(config, dtype=dtype, trust_remote_code=code)
    except LIBRARY_ERRORS as error:
        raise _unloadable(folder, error) from error
    return made


def _unloadable(folder: Path, error: BaseException) -> ModelError:
    """The error for a model that transformers cannot build, with advice."""
    package = _PIP.search(str(error)) if isinstance(error, ImportError) else None
    if package is not None:
        return ModelError(
            t("{folder}: this model needs the package {package}, which is not installed.",
              folder=folder, package=package[1]),
            fix=t("Install it: {command}", command=f"pip install {package[1]}"),
            path=folder,
        )  # fmt: skip
    return ModelError(
        t("{folder}: the model cannot be loaded: {why}", folder=folder, why=first_lines(error)),
        fix=t("Close other programs, or use a smaller model.")
        if is_out_of_memory(error)
        else t("Download the model again, or correct its config.json in {folder}.", folder=folder),
        path=folder,
    )


def check_known(folder: Path) -> bool:
    """Check that the installed transformers supports this model.

    Returns:
        Whether to run the model's own code; True only with recorded consent.

    Raises:
        ModelError: The config has impossible sizes, the weights are quantized, the architecture
            is unknown, or it needs code without consent.
    """
    config = files.read_json(folder / files.CONFIG)
    dimensions.check_folder(folder)
    stored.check_unquantized(folder)
    kind = str(config.get("model_type", ""))
    if kind in causal_model_types():
        return False
    consent.require(folder, config)
    return True


def _check_complete(
    folder: Path, info: dict[str, Any], weights: files.Weights, *, new: frozenset[str]
) -> None:
    """Refuse a model with parts that transformers initialized randomly, except ``new``."""
    missing = sorted(set(info["missing_keys"]) - new)
    wrong = sorted(str(key) for key in info["mismatched_keys"])
    if missing or wrong:
        raise ModelError(
            t(
                "{folder}: {missing} weights are missing and {wrong} do not have the "
                "shape given in config.json ({name} ...).",
                folder=folder,
                missing=len(missing),
                wrong=len(wrong),
                name=(missing or wrong)[0],
            ),
            fix=t(
                "config.json and the weights belong to different models: download the model again."
            ),
            path=folder,
        )
    unused = sorted(info["unexpected_keys"])
    if unused and not new:  # a scalar head takes the place of the vocabulary projection
        log.warning(
            "%s: %d of %d tensors have no place in this architecture and are not used (%s ...)",
            folder, len(unused), len(weights.names), unused[0],
        )  # fmt: skip


def check_finite(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse weights with infinite or NaN values.

    Raises:
        ModelError: With the name of the first such weight.
    """
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise ModelError(
                t(
                    "{folder}: the weight {name} contains non-finite values.",
                    folder=folder,
                    name=name,
                ),
                fix=t(
                    "The file is damaged or the training diverged: use another copy or checkpoint."
                ),
                path=folder,
            )


def check_finite_files(folder: Path) -> None:
    """Refuse a model folder whose safetensors files hold infinities or NaN.

    Raises:
        ModelError: One does.
    """
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                check_finite(folder, {name: tensors.get_tensor(name)})


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is infinite or NaN, checked without a copy; True for integers and meta."""
    if not tensor.is_floating_point() or tensor.is_meta:
        return True
    flat = tensor.detach().reshape(-1)
    # NaN and inf both appear in the extremes; this is faster than a sum of |x| * 0
    return all(
        bool(torch.isfinite(torch.stack(torch.aminmax(part))).all())
        for part in flat.split(FINITE_CHUNK)
        if part.numel()
    )


def first_lines(error: BaseException) -> str:
    """The first four lines of a library's error on one line, at most 400 characters."""
    text = str(error).strip() or type(error).__name__
    # transformers' validators first name themselves; the reason is on the next line.
    text = _VALIDATOR.sub("", text)
    return "; ".join(line.strip() for line in text.splitlines()[:4] if line.strip())[:400]
