"""Chat: who can answer, stored conversations, loaded engines, and served models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.services._face import names_of

if TYPE_CHECKING:
    from tunery.services.chat._answering import answer_once, answer_turn
    from tunery.services.chat._engines import Target
    from tunery.services.chat._engines import pool as engine_pool
    from tunery.services.chat._local import (
        MAX_NEW_TOKENS,
        Chat,
        Room,
        Said,
        Settings,
        choose_sampling,
        trained_with,
    )
    from tunery.services.chat._prompt_sets import SETS as PROMPT_SETS
    from tunery.services.chat._prompt_sets import suggestions as prompt_suggestions
    from tunery.services.chat._prompt_sets import titles as prompt_titles
    from tunery.services.chat._rows import add_row
    from tunery.services.chat._serving import Served, serve, served, template_source, unserve
    from tunery.services.chat._serving import find as find_served
    from tunery.services.chat._serving import fix as fix_served
    from tunery.services.chat._serving import split as split_served
    from tunery.services.chat._speakers import SpeakerGroup, speakers
    from tunery.services.chat._speakers import trained as trained_speakers
    from tunery.services.chat._stored import MAX_COLUMNS, MAX_TEXT, ChatSettings
    from tunery.services.chat._stored import Chat as StoredChat
    from tunery.services.chat._stored import as_rows as chat_as_rows
    from tunery.services.chat._stored import ask as store_question
    from tunery.services.chat._stored import change as change_chat
    from tunery.services.chat._stored import delete as delete_chat
    from tunery.services.chat._stored import listing as list_chats
    from tunery.services.chat._stored import new as new_chat
    from tunery.services.chat._stored import rate as rate_answer
    from tunery.services.chat._stored import restore as restore_chat
    from tunery.services.chat._stored import show as show_chat
    from tunery.services.chat._transcript import load as load_transcript
    from tunery.services.chat._transcript import save as save_transcript
else:
    __getattr__ = names_of(__file__, __name__)

__all__ = [
    "MAX_COLUMNS",
    "MAX_NEW_TOKENS",
    "MAX_TEXT",
    "PROMPT_SETS",
    "Chat",
    "ChatSettings",
    "Room",
    "Said",
    "Served",
    "Settings",
    "SpeakerGroup",
    "StoredChat",
    "Target",
    "add_row",
    "answer_once",
    "answer_turn",
    "change_chat",
    "chat_as_rows",
    "choose_sampling",
    "delete_chat",
    "engine_pool",
    "find_served",
    "fix_served",
    "list_chats",
    "load_transcript",
    "new_chat",
    "prompt_suggestions",
    "prompt_titles",
    "rate_answer",
    "restore_chat",
    "save_transcript",
    "serve",
    "served",
    "show_chat",
    "speakers",
    "split_served",
    "store_question",
    "template_source",
    "trained_speakers",
    "trained_with",
    "unserve",
]
