"""Flags of other tools for whether a message is trained: on the message, its parts or offsets."""

from __future__ import annotations

from typing import Any

from tunery.data.problems import RowProblem, enumerated, say, show, visible
from tunery.types import Role, is_list, is_object

# Names that apply to any role.
PLAIN = ("train", "training", "trainable", "train_on", "weight", "loss_mask")
OF_ANSWERS = ("loss", "loss_scale")  # ms-swift: true is ignored on other roles than assistant
LEFT_OUT = ("masked", "ignore")  # true excludes the message
UNCLEAR = "mask"  # true means trained in some tools, excluded in others
FLAGS = (*PLAIN, *OF_ANSWERS, *LEFT_OUT, UNCLEAR, "train_detail")


def trained(message: dict[str, Any], where: str, role: Role) -> bool | None:
    """Whether a message is trained, by its flags and those of its parts; None if none is set.

    Args:
        message: The message as in the row.
        where: Path of the message, for errors.
        role: Role of the message.

    Raises:
        RowProblem: E304, a flag has a wrong value; E420, flags contradict each other, cover only
            part of the message, or can mean either.
    """
    flags: dict[str, bool] = {}
    for key in FLAGS:
        if message.get(key) is not None:
            flag = _flag_of(message, key, where, role)
            if flag is not None:
                flags[key] = flag
    if len(set(flags.values())) > 1:
        raise RowProblem(
            "E420",
            where,
            say(
                "{place}: {flags} contradict each other",
                place=where,
                flags=enumerated(flags),
            ),
            say("Keep one of them."),
        )
    whole = next(iter(flags.values()), None)
    parts = message.get("content")
    return _parts(parts, where, role, whole) if is_list(parts) else whole


def _flag_of(message: dict[str, Any], key: str, where: str, role: Role) -> bool | None:
    value: Any = message[key]
    if key == "train_detail":
        return _detail(value, message, f"{where}.{key}")
    if key == UNCLEAR:
        raise RowProblem(
            "E420",
            f"{where}.{key}",
            say("field {field}: can mean trained or left out", field=f"{where}.{key}"),
            say("Rename it: loss_mask (1 is trained) or masked (true is left out)."),
        )
    flag = _flag(value, f"{where}.{key}")
    if key in LEFT_OUT:
        return False if flag else None
    return None if key in OF_ANSWERS and flag and role != "assistant" else flag


def _flag(value: Any, field: str) -> bool:
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise RowProblem(
        "E304",
        field,
        say(
            "field {field}: expected 0 or 1, found {what}",
            field=field,
            what=f'"{visible(value, 40)}"' if isinstance(value, str) else show(value),
        ),
        say("Write 1 to train the message, 0 to leave it out."),
    )


def _parts(parts: list[Any], where: str, role: Role, whole: bool | None) -> bool | None:
    """Combine the flags of the content parts, which must all agree."""
    flags = [
        trained({key: part[key] for key in FLAGS if key in part}, f"{where}.content[{i}]", role)
        if is_object(part)
        else None
        for i, part in enumerate(parts)
    ]
    if not any(each is not None for each in flags):
        return whole
    if set(flags) == {False} and whole is not True:
        return False
    default = role == "assistant" if whole is None else whole
    if all((default if each is None else each) is True for each in flags):
        return True
    raise _partly_trained(f"{where}.content")


def _detail(value: Any, message: dict[str, Any], field: str) -> bool | None:
    """Read axolotl's list of {begin_offset, end_offset, train}; other text is trained."""
    content = message.get("content", message.get("value"))
    length = len(content) if isinstance(content, str) else 0
    left_out = [False] * length
    if not is_list(value):
        value = [value]
    for i, each in enumerate(value):
        place = f"{field}[{i}]"
        start, end = (
            (each.get("begin_offset"), each.get("end_offset")) if is_object(each) else (None, None)
        )
        if not (is_object(each) and isinstance(start, int) and isinstance(end, int)):
            raise RowProblem(
                "E304",
                place,
                say(
                    "field {field}: expected begin_offset, end_offset and train, found {what}",
                    field=place,
                    what=show(each),
                ),
                say("Write whole numbers of characters, and true or false."),
            )
        if not _flag(each.get("train", True), f"{place}.train"):
            for at in range(max(0, start), min(end + 1, length)):
                left_out[at] = True
    if not any(left_out):
        return True
    if all(left_out):
        return False
    raise _partly_trained(field)


def _partly_trained(field: str) -> RowProblem:
    return RowProblem(
        "E420",
        field,
        say("{place}: part of the message is trained on and part is not", place=field),
        say("Only whole messages can be excluded: give the message one weight, or remove the row."),
    )
