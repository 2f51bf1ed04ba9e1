"""Remarks of rendering and cutting: their stable English names and their words for people.

The names are counted in events and files; ``in_words`` gives the sentence in the language in force.
"""

from __future__ import annotations

from tunery.i18n import t

REWRITES_HISTORY = "history is written differently from a last turn: one row per answer"
OPENED_THINKING = "the prompt opens the thinking; the answer is written after it"
LOST_THINKING = "the template leaves the thinking out: trained without it"
NOT_KEPT = "the template leaves out earlier thinking: data.thinking=keep does not change that"
SPELLED_CONTROL = "content spells a control token: encoded as text"
STOPS_INSIDE = "an answer spells its stop token: what follows it is not trained"
NO_TRAINED_TOKEN = "no trained token"
ONLY_STOP = "an answer trains only its stop token"
DROPPED = "longer than max_length"
NO_ROOM = "longer than max_length, with no room for a trained token"
TURNS_DROPPED = "early turns dropped to fit max_length"
CUT_RIGHT = "cut at the end to fit max_length"
CUT_LEFT = "cut at the start to fit max_length"
SPLIT = "split to fit max_length"
REJECTED = "rejected by the chat template"
PROMPTS_DIFFER = "the template writes the prompt of the two answers differently"
NO_DIFFERENCE = "both answers are the same to the model"


def in_words(remark: str) -> str:
    """Give a remark in the language in force; an unknown one stays as it is."""
    match remark:
        case "history is written differently from a last turn: one row per answer":
            return t("history is written differently from a last turn: one row per answer")
        case "the prompt opens the thinking; the answer is written after it":
            return t("the prompt opens the thinking; the answer is written after it")
        case "the template leaves the thinking out: trained without it":
            return t("the template leaves the thinking out: trained without it")
        case "the template leaves out earlier thinking: data.thinking=keep does not change that":
            return t(
                "the template leaves out earlier thinking: data.thinking=keep does not change that"
            )
        case "content spells a control token: encoded as text":
            return t("content spells a control token: encoded as text")
        case "an answer spells its stop token: what follows it is not trained":
            return t("an answer spells its stop token: what follows it is not trained")
        case "no trained token":
            return t("no trained token")
        case "an answer trains only its stop token":
            return t("an answer trains only its stop token")
        case "longer than max_length":
            return t("longer than max_length")
        case "longer than max_length, with no room for a trained token":
            return t("longer than max_length, with no room for a trained token")
        case "early turns dropped to fit max_length":
            return t("early turns dropped to fit max_length")
        case "cut at the end to fit max_length":
            return t("cut at the end to fit max_length")
        case "cut at the start to fit max_length":
            return t("cut at the start to fit max_length")
        case "split to fit max_length":
            return t("split to fit max_length")
        case "rejected by the chat template":
            return t("rejected by the chat template")
        case "the template writes the prompt of the two answers differently":
            return t("the template writes the prompt of the two answers differently")
        case "both answers are the same to the model":
            return t("both answers are the same to the model")
        case _:
            return remark
