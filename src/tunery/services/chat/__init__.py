"""Chat: available models, stored conversations, loaded engines, and served models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.services._facade import names_of

if TYPE_CHECKING:
    from tunery.services.chat._answering import answer_once, answer_turn
    from tunery.services.chat._engines import Target, engine_pool, hold_engines
    from tunery.services.chat._local import (
        Chat,
        LoadedModels,
        Said,
        choose_sampling,
    )
    from tunery.services.chat._prompt_sets import PROMPT_SETS, prompt_suggestions, prompt_titles
    from tunery.services.chat._rows import add_row
    from tunery.services.chat._scoring import Judge, Scored, is_reward_model, meaning
    from tunery.services.chat._serving import (
        Served,
        find_served,
        fix_served,
        serve,
        served,
        template_source,
        unserve,
    )
    from tunery.services.chat._speaker import MAX_NEW_TOKENS, Settings, Speaker
    from tunery.services.chat._speakers import (
        SpeakerGroup,
        is_scorer,
        scorers,
        speakers,
        trained_speakers,
    )
    from tunery.services.chat._stored import (
        MAX_COLUMNS,
        MAX_TEXT,
        ChatSettings,
        StoredChat,
        change_chat,
        chat_as_rows,
        delete_chat,
        list_chats,
        new_chat,
        rate_answer,
        restore_chat,
        show_chat,
        store_question,
    )
    from tunery.services.chat._trained import trained_with
    from tunery.services.chat._transcript import load_transcript, save_transcript
    from tunery.services.chat._words import split_served
else:
    __getattr__ = names_of(__file__, __name__)

__all__ = [
    "MAX_COLUMNS", "MAX_NEW_TOKENS", "MAX_TEXT", "PROMPT_SETS", "Chat", "ChatSettings", "Judge",
    "LoadedModels", "Said", "Scored", "Served", "Settings", "Speaker", "SpeakerGroup",
    "StoredChat", "Target", "add_row", "answer_once", "answer_turn", "change_chat",
    "chat_as_rows", "choose_sampling", "delete_chat", "engine_pool", "find_served", "fix_served",
    "hold_engines", "is_reward_model", "is_scorer", "list_chats", "load_transcript", "meaning",
    "new_chat", "prompt_suggestions", "prompt_titles", "rate_answer", "restore_chat",
    "save_transcript", "scorers", "serve", "served", "show_chat", "speakers", "split_served",
    "store_question", "template_source", "trained_speakers", "trained_with", "unserve",
]  # fmt: skip
