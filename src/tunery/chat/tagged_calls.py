"""Tool calls written in tags, as by Qwen3-Coder and GLM-4.5; parsed once they are complete."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunery.chat.call_readers import dump_json, read_json
from tunery.chat.tool_calls import CallArguments, CallBegun, CallPiece, Syntax, new_id
from tunery.types import is_object

_PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_ARGUMENT = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)


class TaggedCall:
    """A call in tags: ``<function=NAME><parameter=KEY>...`` or ``NAME<arg_key>...``.

    Args:
        index: Index of the call in the answer, from 0.
        syntax: The syntax that determines the ID.
        close: The text after the call.
        tools: The tools of the request; their schemas tell which values are strings.
    """

    def __init__(
        self, index: int, syntax: Syntax, close: str, tools: Sequence[Mapping[str, Any]]
    ) -> None:
        self.done = False
        self.refused = ""
        self._index, self._syntax, self._close, self._tools = index, syntax, close, tools
        self._buffer = ""

    def feed(self, text: str) -> tuple[list[CallPiece], int]:
        """Collect the text until the end mark, then return the whole call."""
        whole = self._buffer + text
        place = whole.find(self._close, max(0, len(self._buffer) - len(self._close)))
        if place < 0:
            self._buffer = whole
            return [], len(text)
        self.done = True
        taken = place + len(self._close) - len(self._buffer)
        found = _tagged(whole[:place], self._tools)
        if found is None:
            self.refused = whole[:place]
            return [], taken
        name, arguments = found
        begun = CallBegun(self._index, new_id(self._syntax), name)
        return [begun, CallArguments(self._index, dump_json(arguments))], taken

    def end(self) -> list[CallPiece]:
        """Finish: an incomplete call goes to ``refused``."""
        self.refused, self.done = self._buffer, True
        return []


def _tagged(text: str, tools: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any]] | None:
    body = text.strip()
    if found := re.match(r"<function=([^>\n]+)>", body):
        name, pairs = found.group(1).strip(), _PARAMETER.findall(body)
    else:
        name, pairs = re.split(r"[\n<]", body, maxsplit=1)[0].strip(), _ARGUMENT.findall(body)
    if not name or re.search(r"\s", name):
        return None
    schemas = _properties(name, tools)
    return name, {key.strip(): _value(text, schemas.get(key.strip())) for key, text in pairs}


def _properties(name: str, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    for tool in tools:
        function = tool.get("function", tool)
        if function.get("name") == name:
            parameters = function.get("parameters")
            found = parameters.get("properties") if is_object(parameters) else None
            return found if is_object(found) else {}
    return {}


def _value(text: str, schema: Any) -> Any:
    if is_object(schema) and schema.get("type") == "string":
        return text
    value = read_json(text)
    return text if value is None and text.strip() != "null" else value
