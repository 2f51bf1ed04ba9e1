"""Check a further model that a run reads beside its own, such as a teacher, before any weight.

Both models get the same token ids, so each token must have the same id in both.
"""

from __future__ import annotations

from pathlib import Path

from tunery.config.methods.base import MethodKind
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import bases, dimensions, files, heads, vocabulary
from tunery.models.causal import check_config
from tunery.models.ensure import ensure
from tunery.models.loadable import require_tokenizer
from tunery.models.progress import Progress, silent
from tunery.models.resolve import resolve
from tunery.models.resolved import Resolved
from tunery.models.stored import check_unquantized


def ensure_others(
    method: MethodKind, own: Resolved, progress: Progress | None
) -> dict[str, Resolved]:
    """Find and check all further models that a method reads, by the path of their setting.

    Args:
        method: The settings of the method.
        own: The model that is trained.
        progress: Called with progress events of a download; None skips models to download.

    Raises:
        ModelError: One is unknown or damaged, writes no text, or has other tokens.
        ConfigError: A setting does not fit the vocabulary that all models share.
    """
    found = {
        setting: ensure_beside(setting, name, own, progress or silent)
        for setting, name in method.other_models().items()
        if progress is not None or not _is_to_download(name)
    }
    configs = [files.read_json(m.model_folder / files.CONFIG) for m in (own, *found.values())]
    sizes = [vocabulary.vocab_size(config) for config in configs]
    known = [size for size in sizes if size is not None]
    if known:
        method.check_vocabulary(min(known))
    return found


def _is_to_download(name: str) -> bool:
    try:
        resolve(name)
    except ModelError as error:
        return error.fields.get("remedy") == "pull"
    return False


def ensure_beside(setting: str, name: str, own: Resolved, progress: Progress) -> Resolved:
    """Find a further model, download it if it is missing, and check that it fits.

    Args:
        setting: The path of the setting that names it, for messages.
        name: Its name, as for ``model.name``.
        own: The model that is trained.
        progress: Called with progress events of a download.

    Raises:
        ModelError: It is unknown or damaged, writes no text, or has other tokens.
    """
    try:
        found = ensure(name, progress=progress)
        heads.require_writer(found)
        check_config(found.model_folder)
        check_unquantized(found.model_folder)
        dimensions.check_folder(found.model_folder)
        if found.base is not None:
            vocabulary.check_adapter(found.path, found.base.path)
        require_tokenizer(tokenizer_folder(found))
    except ModelError as error:
        raise ModelError(
            t("{setting}: {why}", setting=setting, why=error.message),
            fix=error.fix, code=error.code, **error.fields,
        ) from error  # fmt: skip
    check_tokens(setting, found, own)
    return found


def fingerprint(model: Resolved) -> str:
    """Identify the weights of a model, and of the adapter if it is one; see ``models.bases``."""
    folders = dict.fromkeys((model.path, model.model_folder))
    return "+".join(bases.fingerprint(folder) for folder in folders)


def tokenizer_folder(model: Resolved) -> Path:
    """The folder of a model's tokenizer; an adapter may have its own."""
    own = (model.path / vocabulary.TOKENIZER).is_file()
    return model.path if own else model.model_folder


def check_tokens(setting: str, other: Resolved, own: Resolved) -> None:
    """Reject a further model in which a token of the trained model's tokenizer has another id.

    Raises:
        ModelError: With the first such token. Tokens that only the other model has do not matter.
    """
    ours, theirs = _tokens(own), _tokens(other)
    unlike = [number for number, text in ours.items() if theirs.get(number) != text]
    if not unlike:
        return
    first = min(unlike)
    there = theirs.get(first)
    raise ModelError(
        t("{setting}: {name} has another tokenizer than the model that is trained: {count:,} "
          "tokens differ. Token {id} is {ours!r} here and {theirs!r} there.",
          setting=setting, name=other.name, count=len(unlike), id=first, ours=ours[first],
          theirs=there)
        if there is not None
        else t("{setting}: {name} has another tokenizer than the model that is trained: {count:,} "
               "tokens differ. Token {id}, {ours!r}, does not exist there.",
               setting=setting, name=other.name, count=len(unlike), id=first, ours=ours[first]),
        fix=t("Choose a model of the same family that has the same tokenizer."),
        code="other_tokenizer",
        model=other.name,
    )  # fmt: skip


def _tokens(model: Resolved) -> dict[int, str]:
    """The text of each token by its id."""
    folder = tokenizer_folder(model)
    found = vocabulary.spellings(folder / vocabulary.TOKENIZER)
    if found:
        return found
    from tunery.models.tokenizer import load_light

    return {int(number): text for text, number in load_light(folder).get_vocab().items()}
