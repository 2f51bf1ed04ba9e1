"""What a trained model returns: text, or a score for a text (a reward model), and its scalar head.

A reward model is a decoder with one linear layer of width 1 in place of the vocabulary projection,
as transformers' ``...ForSequenceClassification`` with one label. Its score of a text is read at
the last token that is not the padding token, as transformers reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunery.commands import quoted
from tunery.config.methods.base import Produces
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import files
from tunery.models.architectures import score_model_types

if TYPE_CHECKING:
    from torch import nn

    from tunery.models.resolved import Resolved

ENDING = "ForSequenceClassification"
SCORES_TASK = "SEQ_CLS"
"""PEFT's task type of an adapter that brings a head for scores."""


def produced_by(folder: Path) -> Produces:
    """What the model or adapter in a folder returns; reads only its config.

    Raises:
        ModelError: The config cannot be read, or the model chooses between classes.
    """
    if (folder / files.ADAPTER_CONFIG).is_file() and not (folder / files.CONFIG).is_file():
        said = files.read_json(folder / files.ADAPTER_CONFIG)
        return "scores" if said.get("task_type") == SCORES_TASK else "text"
    said = files.read_json(folder / files.CONFIG)
    names: list[Any] = said.get("architectures") or []
    if not any(str(name).endswith(ENDING) for name in names):
        return "text"
    labels = said.get("id2label")
    if isinstance(labels, dict) and len(labels) == 1:
        return "scores"
    raise ModelError(
        t("{folder}: this model sorts texts into classes; it neither writes text nor scores "
          "answers.", folder=folder),
        fix=t("Use a language model, or a reward model (one label)."),
        path=folder,
    )  # fmt: skip


def require_text(folder: Path) -> None:
    """Reject a reward model where text is written.

    Raises:
        ModelError: The folder holds a reward model, or its adapter.
    """
    if produced_by(folder) == "scores":
        raise _scores_only(str(folder))


def _scores_only(name: str) -> ModelError:
    return ModelError(
        t("{name}: this is a reward model: it scores answers and writes no text.", name=name),
        fix=t("Use the language model that it was trained from."),
        code="reward_model",
        model=name,
    )


def scores(model: Resolved) -> bool:
    """Whether a resolved name is a reward model, or a base model with the adapter of one."""
    return produced_by(model.path) == "scores"


def require_writer(model: Resolved) -> None:
    """Reject a reward model where a resolved model has to write text.

    Raises:
        ModelError: It is a reward model.
    """
    if scores(model):
        raise _scores_only(model.name)


def require_scores(model: Resolved) -> None:
    """Reject a model that writes text where answers are scored.

    Raises:
        ModelError: It is no reward model.
    """
    if not scores(model):
        raise ModelError(
            t("{name}: this is no reward model: it writes text and scores nothing.",
              name=model.name),
            fix=t("Train one from pairs of answers."),
            model=model.name,
        )  # fmt: skip


def check_scores(folder: Path) -> None:
    """Reject an architecture for which transformers has no form with a scalar head.

    Args:
        folder: A whole model folder.

    Raises:
        ModelError: There is none.
    """
    kind = str(files.read_json(folder / files.CONFIG).get("model_type", ""))
    known = score_model_types()
    if known and kind not in known:
        raise no_scores(folder)


def check_start(model: Resolved, *, produces: Produces, writes: str) -> None:
    """Reject a model that a run cannot start from; reads only configs.

    Args:
        model: What ``model.name`` names.
        produces: What the run's model will return.
        writes: What the run writes: ``adapter`` or ``model``.

    Raises:
        ModelError: It is a reward model where text is written, or no reward model can be made of
            it.
    """
    parts = [model.model_folder, *([model.path] if model.base is not None else [])]
    if produces == "text":
        for folder in parts:
            require_text(folder)
        return
    check_scores(model.model_folder)
    if model.base is not None and writes == "adapter" and produced_by(model.path) == "text":
        raise ModelError(
            t("{folder}: this adapter belongs to a model that writes text, so the adapter of a "
              "reward model cannot continue it.", folder=model.path),
            fix=t("Merge both into one model and use that: tunery export {folder} --to merged "
                  "NEW-MODEL", folder=quoted(model.path)),
            path=model.path,
        )  # fmt: skip


def no_scores(folder: Path) -> ModelError:
    """The error for an architecture that cannot become a reward model."""
    kind = str(files.read_json(folder / files.CONFIG).get("model_type", ""))
    return ModelError(
        t("{folder}: transformers has no {kind} model with a head for scores, so it cannot "
          "become a reward model.", folder=folder, kind=kind),
        fix=t("Use another architecture, such as Llama, Qwen, Mistral or Gemma."),
        code="no_scores",
        path=folder,
    )  # fmt: skip


def auto_class(folder: Path, produces: Produces) -> tuple[Any, dict[str, Any]]:
    """Return transformers' class for a model, and what its config needs in addition.

    Raises:
        ModelError: A reward model is asked for text, or there is no form with a scalar head.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    match produces:
        case "text":
            require_text(folder)
            return AutoModelForCausalLM, {}
        case "scores":
            check_scores(folder)
            return AutoModelForSequenceClassification, {"num_labels": 1}


def new_head(folder: Path, model: Any, produces: Produces) -> frozenset[str]:
    """Names of the weights of a scalar head that the folder does not have.

    Raises:
        ModelError: The architecture's head is not one linear layer.
    """
    if produces == "text":
        return frozenset()
    found = scalar_head(model)
    if found is None:
        raise no_scores(folder)
    if produced_by(folder) == "scores":
        return frozenset()
    return frozenset(f"{found[0]}.{name}" for name, _ in found[1].named_parameters())


def scalar_head(model: Any) -> tuple[str, nn.Module] | None:
    """The name and module of a model's scalar head; None if it has none.

    Args:
        model: A model of transformers, plain or wrapped by PEFT.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not type(base).__name__.endswith(ENDING):
        return None
    for name, child in base.named_children():
        if getattr(getattr(child, "original_module", child), "out_features", None) == 1:
            return name, child
    return None


def output_layer(model: Any) -> nn.Module | None:
    """The layer after the decoder: the vocabulary projection or the scalar head; None without."""
    found = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if found is None and (head := scalar_head(model)) is not None:
        return head[1]
    return found


def train_head(model: Any) -> None:
    """Make a scalar head trainable, whichever weights the adapter has chosen.

    PEFT's copy of a head is trainable already; its original stays frozen.
    """
    found = scalar_head(model)
    if found is not None and not hasattr(found[1], "original_module"):
        found[1].requires_grad_(True)


def draw_head(model: Any, *, seed: int) -> None:
    """Draw the weights of a new scalar head, as transformers would, but from a seed."""
    import torch

    found = scalar_head(model)
    assert found is not None
    spread = float(getattr(model.config.get_text_config(), "initializer_range", 0.02))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, param in found[1].named_parameters():
            drawn = torch.randn(param.shape, generator=generator) * spread
            param.copy_(torch.zeros_like(drawn) if name == "bias" else drawn)


def pad_id(model: Any) -> int | None:
    """The token that transformers skips when it looks for the last token of a text."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    found = base.config.get_text_config().pad_token_id
    return None if found is None else int(found)


def take_pad(model: Any, tokenizer: Any) -> None:
    """Give a model without a padding token that of the tokenizer, unless it also ends texts.

    Without one, transformers scores only one text at a time; with one that ends texts, it would
    read the score elsewhere.
    """
    own = tokenizer.pad_token_id
    if pad_id(model) is None and own is not None and own != tokenizer.eos_token_id:
        model.config.get_text_config().pad_token_id = own
