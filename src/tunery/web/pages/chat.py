"""Chat: one or several models answer the same question, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery.errors import UnknownName
from tunery.services import access
from tunery.services import chat as chat_service
from tunery.services.chat import ChatSettings, SpeakerGroup, StoredChat
from tunery.web.render import render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class ChatView:
    """The view of chat.html.

    Args:
        chat: The open conversation; None before the first question.
        settings: How answers are sampled.
        chats: Earlier conversations.
        speakers: The models that can be asked.
        suggestions: Questions to start with.
        sets: Prompt sets as (name, title).
        missing: Whether the conversation in the URL was deleted.
        asked_scorer: A reward model that the URL names; it cannot chat.
    """

    chat: StoredChat | None
    settings: ChatSettings
    chats: list[dict[str, Any]]
    speakers: list[SpeakerGroup]
    suggestions: list[str]
    sets: list[tuple[str, str]]
    missing: bool
    asked_scorer: str

    def speakers_data(self) -> list[dict[str, Any]]:
        """The speakers, for the script; always including those named in the URL."""
        groups = [{"label": group.label, "names": group.names} for group in self.speakers]
        known = {name for group in self.speakers for name, _ in group.names}
        others = [(name, name) for name in self.settings.columns if name not in known]
        return [*groups, {"label": "…", "names": others}] if others else groups


@router.get("/chat")
def chat(request: Request) -> HTMLResponse:
    """Render the page; ``?id=`` opens a conversation, ``?a=&b=`` selects the models."""
    query = request.query_params
    opened, missing = None, False
    if query.get("id"):
        try:
            opened = chat_service.show_chat(query["id"])
        except UnknownName:
            missing = True
    asked = [access.model(query[key]) for key in ("a", "b", "c", "d") if query.get(key)]
    scorer = next(filter(chat_service.is_scorer, asked), "")
    named = tuple(name for name in dict.fromkeys(asked) if not chat_service.is_scorer(name))
    groups = chat_service.speakers()
    first = next((name for group in groups for name, _ in group.names), "demo")
    settings = opened.settings if opened else ChatSettings(columns=named or (first,))
    view = ChatView(
        chat=opened,
        settings=settings,
        chats=chat_service.list_chats(),
        speakers=groups,
        suggestions=chat_service.prompt_suggestions(),
        sets=list(chat_service.prompt_titles().items()),
        missing=missing,
        asked_scorer=scorer,
    )
    return render(request, "chat.html", view)
