"""The errors of rendering: what is wrong, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunery.errors import DataError, ModelError
from tunery.i18n import joined, t
from tunery.types import RowRef

OWN = "tokenizer"
"""The name of the template that comes with the tokenizer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a rendering failed.

    Args:
        kind: ``rejected`` (the template called ``raise_exception``), ``time``, ``memory``,
            ``output``, ``sandbox``, ``syntax`` or ``broken``.
        message: The message of the template or of Jinja.
    """

    kind: str
    message: str = ""

    def in_words(self) -> str:
        """The failure, translated to the current language."""
        match self.kind:
            case "time":
                return t("it used more than 2 s of CPU time")
            case "memory":
                return t("it used more than 1 GiB of memory")
            case "output":
                return t("it exceeded the limit of a rendering (16 MiB of text)")
            case "sandbox":
                return t("it tried something that the sandbox forbids: {what}", what=self.message)
            case _:
                return self.message


def located(error: DataError, ref: RowRef | None) -> DataError:
    """Put the row in front of the error's message, if the row is known."""
    if ref is None or "record" in error.fields:
        return error
    message = t(
        "{file} record {record}: {what}", file=ref.file, record=ref.record, what=error.message
    )
    fields = {**error.fields, "file": ref.file, "record": ref.record, "line": ref.line}
    return DataError(message, fix=error.fix, code=error.code, **fields)


def named(template: str) -> str:
    """A template within a sentence; the tokenizer's has no name that a user gave it."""
    if template == OWN:
        return t("the model's own chat template")
    return t("template {template}", template=template)


def not_rendered(template: str, failure: Failure) -> DataError:
    """The template rejects a conversation (E416), or fails on it (E417)."""
    if failure.kind == "rejected":
        return DataError(
            t(
                "{template} rejects the conversation: {why}",
                template=named(template),
                why=failure.in_words(),
            ),
            fix=t(
                "Change the messages (roles, their order, the system message), or choose another "
                "template with model.template."
            ),
            code="E416",
        )
    return DataError(
        t(
            "{template} cannot render the conversation: {why}",
            template=named(template),
            why=failure.in_words(),
        ),
        fix=_other_template(),
        code="E417",
    )


def broken_template(template: str, failure: Failure) -> ModelError:
    """The template is not valid Jinja, or does something that is not allowed."""
    return ModelError(
        t("{template}: {why}", template=named(template), why=failure.in_words()),
        fix=t("Correct the Jinja source, or choose another template with model.template."),
    )


def no_own_template(name: str) -> ModelError:
    """The model's own template was requested, but it has none."""
    return ModelError(
        t("template {name}: this model has no chat template of its own.", name=name),
        fix=_other_template(),
    )


def missing_tokens(template: str, missing: Sequence[str]) -> ModelError:
    """The tokenizer lacks control tokens that the template needs."""
    return ModelError(
        t(
            "{template}: this tokenizer has no control token {tokens}, so a turn cannot be ended.",
            template=named(template),
            tokens=", ".join(missing),
        ),
        fix=t("Remove model.template to use the model's own, or choose alpaca."),
    )


def no_stop_token(template: str) -> ModelError:
    """There is no stop token to end an answer with."""
    return ModelError(
        t(
            "{template}: no stop token follows an answer, and the tokenizer has no EOS token.",
            template=named(template),
        ),
        fix=_other_template(),
    )


def unreadable(name: str, why: OSError | ValueError, known: Sequence[str]) -> ModelError:
    """A template file that cannot be read."""
    return ModelError(
        t("template {name}: the file cannot be read ({why}).", name=name, why=why),
        fix=t("Use a readable Jinja file, or one of: {names}.", names=", ".join(known)),
    )


def no_tools(template: str, count: int, others: Sequence[str]) -> DataError:
    """Tools that the template would drop; ``others`` are templates that support them."""
    return DataError(
        t(
            "{template} does not support tools; the row has {count}.",
            template=named(template),
            count=count,
        ),
        fix=_template_with_tools(others),
        code="E415",
    )


def no_calls(template: str, others: Sequence[str]) -> DataError:
    """Tool calls that the template would drop; ``others`` are templates that support them."""
    return DataError(
        t(
            "{template} does not support tool calls; the row has a call or a tool result.",
            template=named(template),
        ),
        fix=_template_with_tools(others),
        code="E415",
    )


def no_text(template: str) -> DataError:
    """A template that drops the text of the messages."""
    return DataError(
        t("{template} does not write the text of the messages.", template=named(template)),
        fix=t("Choose another template with model.template, or correct the model's template."),
        code="E423",
    )


def no_system(template: str) -> DataError:
    """A system message that the template would drop."""
    return DataError(
        t("{template} drops system messages; the row has one.", template=named(template)),
        fix=t(
            "Move it into the first user message, or choose another template with model.template."
        ),
        code="E416",
    )


def prompt_differs(template: str, prompt: str, turn: str) -> DataError:
    """The rendered turn does not begin with the template's prompt for it."""
    return DataError(
        t(
            "{template}: the prompt of an answer differs from the text before "
            "that answer in a rendered conversation, so training would not match "
            "inference. The prompt ends with {prompt!r}, the turn is {turn!r}.",
            template=named(template),
            prompt=prompt[-40:],
            turn=turn[:40],
        ),
        fix=t("Choose a built-in template with model.template."),
        code="E417",
    )


def no_span(template: str, number: int) -> DataError:
    """A message with its own ``train`` setting whose tokens cannot be located."""
    return DataError(
        t(
            "message {number} has its own train setting, but {template} renders "
            "earlier turns differently from the last one, so its tokens cannot be "
            "identified.",
            number=number,
            template=named(template),
        ),
        fix=t("Remove train from this message, or choose another template with model.template."),
        code="E418",
    )


def slow_tokenizer(name: str) -> ModelError:
    """A tokenizer without a tokenizer.json."""
    return ModelError(
        t("{name}: this tokenizer has no tokenizer.json (it is not a fast tokenizer).", name=name),
        fix=t(
            "Convert it once with transformers: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        ),
    )


def half_letter() -> DataError:
    """A text with a lone surrogate."""
    return DataError(
        t(
            "The text contains half of an emoji (a lone surrogate such as \\ud83d), "
            "which cannot be tokenized."
        ),
        fix=t("Correct the text at its source."),
        code="E113",
    )


def not_split(why: str) -> DataError:
    """A text on which the tokenizer panics."""
    if "retry-limit" in why:
        message = t(
            "The tokenizer cannot split this text: a regular expression in its tokenizer.json "
            "needs too many steps ({why}).",
            why=why,
        )
    else:
        message = t("The tokenizer cannot split this text: it crashed ({why}).", why=why)
    return DataError(
        message,
        fix=t(
            "Shorten or remove the text; if this happens with ordinary texts, use another "
            "model: this tokenizer.json is broken or malicious."
        ),
        code="E114",
    )


def always_control(text: str) -> DataError:
    """A spelling that the tokenizer always encodes as its control token."""
    return DataError(
        t(
            "The text {text!r} cannot be encoded without its control token: this "
            "tokenizer also produces it from plain text.",
            text=text,
        ),
        fix=t("Remove it from the data."),
    )


def _other_template() -> str:
    return t("Choose another template with model.template.")


def _template_with_tools(others: Sequence[str]) -> str:
    as_text = t("To write them as text in the model's own template: --model.template own+hermes.")
    if not others:
        return joined(
            t(
                "No built-in template with tools fits this tokenizer. Remove tools and calls "
                "from the rows, or train a model whose own template supports them (Qwen 3, "
                "Llama 3)."
            ),
            as_text,
        )
    names = ", ".join(others)
    return joined(
        as_text, t("Choose a template with tools with model.template: {names}.", names=names)
    )
