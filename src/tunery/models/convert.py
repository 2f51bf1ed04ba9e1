"""The child process that converts one .gguf file: ``python -m tunery.models.convert FILE FOLDER``.

Heavy. The process first limits its own resources. transformers then dequantizes the weights; the
quantization flags that prevent saving are removed, known losses of the conversion are repaired, and
the result is saved as safetensors in bf16: the original weights of these models are bf16, a
block-quantized file has less precision (Q4_1: 16 levels per block), the folder is half the size of
fp32, and a bf16 run maps the file without a copy. An fp32 run converts it exactly.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

MEMORY_FLOOR_BYTES = 24 * 2**30
"""Address space for the interpreter and torch, which reserve much more than they use."""
MEMORY_PER_FILE_BYTE = 16
"""Additional address space per byte of the .gguf file."""
SHARD_SIZE = "4GB"


def main(argv: list[str]) -> int:
    """Convert ``argv[0]`` into the existing folder ``argv[1]``; write the notes to convert.json."""
    file, folder = Path(argv[0]), Path(argv[1])
    _limit(file)
    notes = convert(file, folder)
    (folder / "convert.json").write_text(json.dumps({"notes": notes}), encoding="utf-8")
    return 0


def convert(file: Path, folder: Path) -> list[str]:
    """Write the tokenizer, config and weights of a GGUF file as a transformers folder.

    Returns:
        Notes for the user: what the file lacked or what was repaired.

    Raises:
        SystemExit: Weights are missing or not finite, or the RoPE scaling is unknown.
    """
    from tunery.models.gguf import read_header

    header = read_header(file)
    notes: list[str] = []
    tokenizer = _tokenizer(file, header.metadata)
    if not tokenizer.chat_template:
        notes.append("the file has no chat template: choose one with model.template")
    model = _model(file)
    context = header.context_length
    if any(tensor.name == "rope_freqs.weight" for tensor in header.tensors):
        notes.append(_restore_llama3_rope(file, model))
    scaling = header.metadata.get(f"{header.architecture}.rope.scaling.type", "none")
    if scaling not in ("none", "") and model.config.rope_parameters.get("rope_type") == "default":
        notes.append(
            f"rope scaling {scaling!r} of the file is not applied: use short contexts only"
        )
    model.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    tokenizer.model_max_length = context or tokenizer.model_max_length
    tokenizer.save_pretrained(folder)
    _tidy(folder)
    return notes


def _limit(file: Path) -> None:
    memory = MEMORY_FLOOR_BYTES + MEMORY_PER_FILE_BYTE * file.stat().st_size
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]  # a stricter limit of the shell is kept
    memory = memory if hard < 0 else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (4 * 3600, 4 * 3600))


def _tokenizer(file: Path, metadata: dict[str, Any]) -> Any:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        str(file.parent), gguf_file=file.name, local_files_only=True, trust_remote_code=False
    )
    if metadata.get("tokenizer.ggml.pre") == "smollm":
        # transformers has no entry for this pre-tokenizer. Without it, "  7" is split differently
        # from the original tokenizer, which separates digits before the byte-level step.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return tokenizer


def _model(file: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    result: Any = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    model, info = result
    lost = sorted(info["missing_keys"])
    if lost:
        raise SystemExit(f"the file lacks {len(lost)} weights of the model: {lost[:3]}")
    bad = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if bad:
        raise SystemExit(f"{len(bad)} weights contain non-finite values: {bad[:3]}")
    # transformers refuses to save a model with these flags, although it is dequantized
    model.hf_quantizer = None
    model.is_quantized = False
    model.quantization_method = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    return model


def _restore_llama3_rope(file: Path, model: Any) -> str:
    """Restore Llama 3's RoPE scaling, stored in the file as a tensor that transformers ignores."""
    import numpy as np
    from gguf import GGUFReader
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    factors = next(t.data for t in GGUFReader(file).tensors if t.name == "rope_freqs.weight")
    theta = model.config.rope_parameters["rope_theta"]
    plain = 1.0 / theta ** (np.arange(0, 2 * len(factors), 2) / (2 * len(factors)))
    model.config.rope_parameters = {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": float(factors.max()),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    ours, _ = ROPE_INIT_FUNCTIONS["llama3"](model.config, "cpu")
    if not np.allclose(ours.numpy(), plain / factors, rtol=1e-3):
        raise SystemExit("the file scales its rope frequencies in a way that has no config")
    return "rope scaling of Llama 3 restored from the file's rope_freqs"


def _tidy(folder: Path) -> None:
    """Remove local paths, and set a tokenizer class that older transformers versions also have."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("_model_name_or_path", None)
    _write(folder / "config.json", config)
    tokens = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    for key in ("is_local", "local_files_only", "backend", "name_or_path"):
        tokens.pop(key, None)
    tokens["tokenizer_class"] = "PreTrainedTokenizerFast"
    _write(folder / "tokenizer_config.json", tokens)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
