"""Reads a Llama-like model for the fast pass from its files, without transformers.

transformers takes 2 to 3 seconds to import what a model needs; the fast pass needs the weights and
two numbers. When a model is loaded whole, its weights are checked, and the fast pass is compared
with transformers' own module (``remember``). Without such a record for the model, processor and
libraries, the model is loaded whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from tunery import __version__, env
from tunery.decode.fast.weights import linears_of
from tunery.models import files

log = logging.getLogger(__name__)

_EMBEDDING = "model.embed_tokens.weight"
TYPES = ("llama", "qwen2", "qwen3")
LIBRARIES = ("torch", "transformers")
_LAYER = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}
_NORMS = ("input_layernorm", "post_attention_layernorm")


def known(folder: Path, *, dtype: torch.dtype, device: str) -> bool:
    """Whether a model is simple enough to be read here and has already been compared."""
    said = files.read_json(folder / files.CONFIG)
    rope = said.get("rope_parameters") or said.get("rope_scaling") or {}
    plain = (
        said.get("model_type") in TYPES
        and not said.get("quantization_config")
        and not said.get("use_sliding_window")
        and rope.get("rope_type", rope.get("type", "default")) == "default"
        and float(rope.get("partial_rotary_factor", 1.0)) == 1.0
    )
    return plain and _record(folder, dtype, device).is_file()


def remember(folder: Path, *, dtype: torch.dtype, device: str) -> None:
    """Record that the fast pass and transformers' module agree on this model on this machine."""
    record = _record(folder, dtype, device)
    try:
        record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        record.touch()
    except OSError as error:  # loaded whole again next time
        log.warning("It cannot be kept that the model was compared: %s", error)


def read(folder: Path, *, dtype: torch.dtype, device: str) -> Any:
    """Read a model for which ``known`` holds.

    Returns:
        The attributes of a transformers module that ``FastModel`` reads, under the same names.

    Raises:
        ModelError: A weight file is missing or broken.
        KeyError: A required tensor has another name.
    """
    config = _config(files.read_json(folder / files.CONFIG))
    tensors = _tensors(folder, dtype, device)
    layers = [_layer(tensors, f"model.layers.{i}.") for i in range(config.num_hidden_layers)]
    # Read separately, so that ``free_linears`` releases the memory map of the file.
    embedding = SimpleNamespace(weight=_tensors(folder, dtype, device, only=_EMBEDDING)[_EMBEDDING])
    head = "lm_head.weight" if "lm_head.weight" in tensors else _EMBEDDING
    inner = SimpleNamespace(
        embed_tokens=embedding,
        layers=layers,
        norm=SimpleNamespace(weight=tensors["model.norm.weight"].clone()),
        rotary_emb=_Rope(config.head_dim, config.rope_theta),
    )
    return SimpleNamespace(config=config, model=inner, lm_head=_linear(tensors[head], None))


def free_linears(model: Any) -> None:
    """Free the weights of the linear layers of a model returned by ``read``.

    Call it once the fast pass has its own copies of them, or holds references to those it reads.
    """
    linears = [layer for each in model.model.layers for layer in linears_of(each)]
    for linear in (*linears, model.lm_head):
        linear.weight = nn.Parameter(linear.weight.to("meta"), requires_grad=False)


class _Rope:
    """Rotary position embeddings as transformers computes them (Su et al. 2021)."""

    def __init__(self, width: int, theta: float) -> None:
        places = torch.arange(0, width, 2, dtype=torch.int64).float()
        self._inverse = 1.0 / (theta ** (places / width))

    def __call__(self, like: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each [1, T, D], in the dtype of ``like``."""
        inverse = self._inverse.to(like.device)
        angles = position_ids[0, :, None].float() * inverse
        both = torch.cat([angles, angles], dim=-1)[None]
        return both.cos().to(like.dtype), both.sin().to(like.dtype)


def _config(said: dict[str, Any]) -> SimpleNamespace:
    rope = said.get("rope_parameters") or {}
    heads = said["num_attention_heads"]
    return SimpleNamespace(
        num_hidden_layers=said["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=said.get("num_key_value_heads") or heads,
        hidden_size=said["hidden_size"],
        head_dim=said.get("head_dim") or said["hidden_size"] // heads,
        rms_norm_eps=said["rms_norm_eps"],
        rope_theta=float(rope.get("rope_theta") or said["rope_theta"]),
        max_position_embeddings=said.get("max_position_embeddings", 0),
        vocab_size=said["vocab_size"],
    )


def _tensors(folder: Path, dtype: torch.dtype, device: str, *, only: str = "") -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in files.check_weights(folder).files:
        with safe_open(path, framework="pt") as opened:
            names = [name for name in opened.keys() if only in ("", name)]  # noqa: SIM118
            found |= {name: opened.get_tensor(name) for name in names}
    return {name: tensor.to(device=device, dtype=dtype) for name, tensor in found.items()}


def _layer(tensors: dict[str, Tensor], prefix: str) -> SimpleNamespace:
    parts: dict[str, Any] = {
        place: SimpleNamespace(
            **{
                name: _linear(
                    tensors[f"{prefix}{place}.{name}.weight"],
                    tensors.get(f"{prefix}{place}.{name}.bias"),
                )
                for name in names
            }
        )
        for place, names in _LAYER.items()
    }
    for name in _NORMS:
        parts[name] = SimpleNamespace(weight=tensors[f"{prefix}{name}.weight"].clone())
    for name in ("q_norm", "k_norm"):
        weight = tensors.get(f"{prefix}self_attn.{name}.weight")
        if weight is not None:
            setattr(parts["self_attn"], name, SimpleNamespace(weight=weight.clone()))
    return SimpleNamespace(**parts)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made


def _record(folder: Path, dtype: torch.dtype, device: str) -> Path:
    """The path of the record; any change of model, code or libraries changes its name."""
    weights = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in files.check_weights(folder).files
    ]
    kind = device.partition(":")[0]
    about = [
        str(folder.resolve()), weights, str(dtype), kind, __version__,
        [version(library) for library in LIBRARIES], (folder / files.CONFIG).read_text(),
        torch.backends.cpu.get_cpu_capability(),
    ]  # fmt: skip
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
    return env.cache_dir() / "compared" / key
