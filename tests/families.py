"""Small tokenizers of the model families, built in the test: no download, real added tokens."""

from __future__ import annotations

import functools
import json
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

SENTENCES = [
    "Hello there, who are you? I am a small language model.",
    "The user asks a question and the assistant answers it. Think first, then answer.",
    "system user assistant tool model ipython function name arguments parameters think",
    "你好，你是谁？我是一个语言模型。",
    '{"name": "f", "arguments": {"x": "1", "n": 2}}\n\n### Instruction:\n### Response:\n',
]

CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN3_TAGS = (
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>"),
)
MISTRAL = (
    *("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]"),
    *("[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
)
GLM = (
    *("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>"),
    *("<|assistant|>", "<|observation|>"),
)
# family -> (kind, special tokens, added but not special tokens, bos, eos, adds bos by itself)
FAMILIES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], str | None, str, bool]] = {
    "chatml": ("bytes", CHATML, (), None, "<|im_end|>", False),
    "qwen2.5": ("bytes", CHATML, ("<tool_call>", "</tool_call>"), None, "<|im_end|>", False),
    "qwen3": (
        "bytes",
        CHATML,
        (
            "<tool_call>",
            "</tool_call>",
            "<tool_response>",
            "</tool_response>",
            "<think>",
            "</think>",
        ),
        None,
        "<|im_end|>",
        False,
    ),
    "llama3": (
        "bytes",
        (
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|eom_id|>",
        ),
        (),
        "<|begin_of_text|>",
        "<|eot_id|>",
        True,
    ),
    "mistral": (
        "pieces",
        MISTRAL,
        (),
        "<s>",
        "</s>",
        True,
    ),
    "gemma": (
        "pieces-bare",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        ("\n\n", "<table>"),
        "<bos>",
        "<eos>",
        True,
    ),
    "phi": (
        "pieces",
        ("<s>", "<|endoftext|>"),
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<s>",
        "<|endoftext|>",
        False,
    ),
    "phi4-mini": (
        "bytes",
        ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        ("<|tool|>", "<|/tool|>", "<|tool_call|>", "<|/tool_call|>", "<|tool_response|>"),
        "<|endoftext|>",
        "<|endoftext|>",
        False,
    ),
    "phi4": ("bytes", (*CHATML, "<|im_sep|>"), (), "<|endoftext|>", "<|endoftext|>", False),
    "deepseek": (
        "bytes",
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        ("<think>", "</think>"),
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        True,
    ),
    "glm4": (
        "bytes",
        GLM,
        (),
        None,
        "<|endoftext|>",
        False,
    ),
    "alpaca": ("bytes", ("<|endoftext|>",), (), None, "<|endoftext|>", False),
}


@functools.cache
def family(name: str) -> Any:
    """Return the tokenizer of a family; the same object each time, with no chat template."""
    kind, special, added, bos, eos, adds_bos = FAMILIES[name]
    backend = _bytes() if kind == "bytes" else _pieces(prefix=kind == "pieces")
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in added])
    if adds_bos:
        backend.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(str(bos), backend.token_to_id(str(bos)))]
        )
    unknown = None if kind == "bytes" else "<unk>"
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token=eos, unk_token=unknown
    )


def _bytes() -> Tokenizer:
    """A byte-level BPE, like GPT-2's, Qwen's, Llama 3's."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    return backend


def _pieces(*, prefix: bool) -> Tokenizer:
    """A SentencePiece-like BPE with byte fallback; ``prefix`` puts a blank before a text."""
    # Without a pre-tokenizer the trainer would take whole sentences as words.
    words = [word for text in SENTENCES for word in text.replace(" ", " ▁").split()]
    trained = Tokenizer(models.BPE())
    trained.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=200, max_token_length=8, show_progress=False)
    )
    # As in the real ones, the byte tokens are part of the model and no added tokens.
    learned = json.loads(trained.to_str())["model"]
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names += sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    backend = Tokenizer(
        models.BPE(
            vocab={name: place for place, name in enumerate(names)},
            merges=[tuple(merge) for merge in learned["merges"]],
            byte_fallback=True,
            unk_token="<unk>",
            fuse_unk=True,
        )
    )
    steps: list[Any] = [normalizers.Replace(" ", "▁")]
    if prefix:
        steps.insert(0, normalizers.Prepend("▁"))
    backend.normalizer = normalizers.Sequence(steps)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([decoders.Strip(" ", 1, 0)] if prefix else [])
    )
    return backend
