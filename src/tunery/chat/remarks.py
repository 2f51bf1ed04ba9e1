"""Remarks about rendering and truncation: their stable English names and their translations.

Events and files count remarks by these names; ``in_words`` translates one for display.
"""

from __future__ import annotations

from tunery.i18n import t

REWRITES_HISTORY = "earlier turns are rendered differently from the last one: one row per answer"
OPENED_THINKING = "the prompt opens the thinking block; the answer is written after it"
LOST_THINKING = "the template drops the thinking: trained without it"
NOT_KEPT = "the template drops earlier thinking: data.thinking=keep does not change that"
SPELLED_CONTROL = "content contains a control token: encoded as plain text"
STOPS_INSIDE = "an answer contains its stop token as text: what follows is not trained on"
NO_TRAINED_TOKEN = "no trained tokens"
ONLY_STOP = "an answer trains only its stop token"
DROPPED = "longer than max_length"
NO_ROOM = "longer than max_length, with no room for a trained token"
TURNS_DROPPED = "earliest turns dropped to fit max_length"
CUT_RIGHT = "truncated at the end to fit max_length"
CUT_LEFT = "truncated at the start to fit max_length"
SPLIT = "split to fit max_length"
UNNAMED = "the template does not write the names of messages: trained without them"
REJECTED = "rejected by the chat template"
PROMPTS_DIFFER = "the template renders the prompts of the two answers differently"
WEIGHS_NOTHING = "weight 0"
NO_DIFFERENCE = "both answers are identical for the model"
LOSSES = (LOST_THINKING, NOT_KEPT, STOPS_INSIDE, UNNAMED)
"""Remarks about a part of a row that is not trained on although the row is used."""


def in_words(remark: str) -> str:
    """Translate a remark to the current language; an unknown remark is returned unchanged."""
    match remark:
        case "earlier turns are rendered differently from the last one: one row per answer":
            return t("earlier turns are rendered differently from the last one: one row per answer")
        case "the prompt opens the thinking block; the answer is written after it":
            return t("the prompt opens the thinking block; the answer is written after it")
        case "the template drops the thinking: trained without it":
            return t("the template drops the thinking: trained without it")
        case "the template drops earlier thinking: data.thinking=keep does not change that":
            return t("the template drops earlier thinking: data.thinking=keep does not change that")
        case "content contains a control token: encoded as plain text":
            return t("content contains a control token: encoded as plain text")
        case "an answer contains its stop token as text: what follows is not trained on":
            return t("an answer contains its stop token as text: what follows is not trained on")
        case "no trained tokens":
            return t("no trained tokens")
        case "an answer trains only its stop token":
            return t("an answer trains only its stop token")
        case "longer than max_length":
            return t("longer than max_length")
        case "longer than max_length, with no room for a trained token":
            return t("longer than max_length, with no room for a trained token")
        case "earliest turns dropped to fit max_length":
            return t("earliest turns dropped to fit max_length")
        case "truncated at the end to fit max_length":
            return t("truncated at the end to fit max_length")
        case "truncated at the start to fit max_length":
            return t("truncated at the start to fit max_length")
        case "split to fit max_length":
            return t("split to fit max_length")
        case "the template does not write the names of messages: trained without them":
            return t("the template does not write the names of messages: trained without them")
        case "rejected by the chat template":
            return t("rejected by the chat template")
        case "the template renders the prompts of the two answers differently":
            return t("the template renders the prompts of the two answers differently")
        case "weight 0":
            return t("weight 0")
        case "both answers are identical for the model":
            return t("both answers are identical for the model")
        case _:
            return remark
