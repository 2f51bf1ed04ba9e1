"""``python -m tunery.server``: the process that ``tunery serve`` becomes after parsing."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunery import env
from tunery.errors import ConfigError, LaunchError, TuneryError, disk_errors
from tunery.i18n import t
from tunery.types import is_list

if TYPE_CHECKING:
    import socket

    import uvicorn
    from fastapi import FastAPI

    from tunery.server.settings import ServerSettings
    from tunery.services.chat import Served

KEYS_VARIABLE = "TUNERY_API_KEY"
KEY_FILE = "serve.key"
SHORTEST_KEY = 16
LOOK_SECONDS = 0.2


def main(words: Sequence[str] | None = None) -> int:
    """Load the models and serve them; returns when the server has stopped."""
    parser = argparse.ArgumentParser(prog="python -m tunery.server")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--root-path", default="")
    parser.add_argument("--public-url", action="append", default=[])
    parser.add_argument("--cors-origin", action="append", default=[])
    parser.add_argument("--requests-per-minute", type=int, default=-1)
    parser.add_argument("--unload-after-minutes", type=float, default=0.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    try:
        with disk_errors():
            return _serve(given)
    except TuneryError as error:
        if given.json:
            print(json.dumps(error.as_dict(), ensure_ascii=False), flush=True)
        print(error.message, file=sys.stderr)
        if error.fix:
            print(t("fix: ") + error.fix, file=sys.stderr)
        return error.exit_status


def _serve(given: argparse.Namespace) -> int:
    from tunery.redaction import remember
    from tunery.server import port
    from tunery.server.settings import ServerSettings
    from tunery.services import chat

    served = chat.fix_served(given.models)
    idle_seconds = given.unload_after_minutes * 60 or None
    chat.hold_engines(idle_seconds)
    keys = _keys_given()
    settings = ServerSettings(
        host=given.host,
        port=given.port,
        root_path=given.root_path,
        public_urls=tuple(given.public_url),
        cors_origins=tuple(given.cors_origin),
        api_keys=keys or (_kept_key(),),
    )
    _check_keys(keys, settings)
    for key in settings.api_keys:
        remember(key)
    listener = port.listen(settings)  # report a port in use before loading anything
    ahead = chat.engine_pool().start_ahead(served[0].model)
    loader = _Loader(served, settings, own_key=not keys, as_json=given.json, ahead=ahead)
    _run(loader, listener, given)
    if loader.error is not None:
        raise loader.error
    return 0


def _run(loader: _Loader, listener: socket.socket, given: argparse.Namespace) -> None:
    """Make the server and run it; imported here, so that imports run while the engine loads."""
    from fastapi import APIRouter

    from tunery.server import run
    from tunery.server.app import create_app
    from tunery.server.openai.limits import Rate
    from tunery.server.openai.route import State
    from tunery.server.openai.routes import V1_ROUTERS

    app = create_app(
        loader.settings,
        api=V1_ROUTERS,
        routers=(APIRouter(lifespan=loader.lifespan),),
    )
    app.state.unload_after_minutes = given.unload_after_minutes
    if given.requests_per_minute >= 0:
        app.state.openai = State(rate=Rate(given.requests_per_minute))
    run.set_up_log()
    loader.app, loader.server = app, run.make_server(app)
    loader.server.run(sockets=[listener])


@dataclass
class _Loader:
    """Loads the models when the server starts, reports it, and unloads them when it stops.

    Args:
        served: The models to load.
        settings: Settings of the server.
        own_key: Whether the key is Tunery's own and may be shown.
        as_json: Report as one line of JSON.
        ahead: Whether the first model's engine was already started for this server.
    """

    served: Sequence[Served]
    settings: ServerSettings
    own_key: bool
    as_json: bool
    ahead: bool = False
    app: FastAPI | None = None
    server: uvicorn.Server | None = None
    error: TuneryError | None = None
    started: list[Served] = field(default_factory=list["Served"])

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncGenerator[None]:
        """Load before the first request, unload after the last one."""
        try:
            try:
                loaded = await self._load()
            except TuneryError as error:
                self.error, loaded = error, False
            if loaded:
                self._say()
            else:
                self._end()
            yield
        finally:
            await self._unload()

    async def _load(self) -> bool:
        """Load one model after the other; False if interrupted by Ctrl-C."""
        from tunery.services import chat

        before = {status.get("base") for status in await chat.engine_pool().statuses()}
        for place, each in enumerate(self.served):
            if not self.as_json:
                print(t("Loading {name} …", name=each.name), file=sys.stderr, flush=True)
            task = asyncio.ensure_future(chat.engine_pool().ready(each.model))
            while not task.done():
                # A signal handler does not wake the event loop, so poll.
                await asyncio.wait({task}, timeout=LOOK_SECONDS)
                if self.app is not None and self.app.state.ending.is_set():
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    return False
            status = await task.result().engine.status()
            if status.base not in before or (self.ahead and place == 0):
                self.started.append(each)
        return True

    async def _unload(self) -> None:
        from tunery.services import chat

        for each in self.started:
            with contextlib.suppress(TuneryError):  # it has already ended
                await chat.engine_pool().unload(each.model)

    def _end(self) -> None:
        if self.server is not None:
            self.server.should_exit = True

    def _say(self) -> None:
        if self.as_json:
            print(json.dumps(self._facts(), ensure_ascii=False), flush=True)
            return
        for line in _lines(self._facts(), self.own_key):
            print(line, flush=True)

    def _facts(self) -> dict[str, object]:
        shown = "127.0.0.1" if self.settings.host in ("0.0.0.0", "::") else self.settings.host
        shown = f"[{shown}]" if ":" in shown else shown
        local = f"http://{shown}:{self.settings.port}{self.settings.root_path}"
        return {
            "type": "ready",
            "base_url": f"{next(iter(self.settings.public_addresses), local)}/v1",
            "models": [each.name for each in self.served],
            "key": self.settings.api_keys[0] if self.own_key else None,
            "pid": os.getpid(),
        }


def _lines(facts: dict[str, object], own_key: bool) -> list[str]:
    base, models = facts["base_url"], facts["models"]
    key = facts["key"] if own_key else f"${KEYS_VARIABLE}"
    first = models[0] if is_list(models) else ""
    body = json.dumps(
        {
            "model": first,
            "messages": [{"role": "user", "content": "Who are you?"}],
            "max_tokens": 200,
            "temperature": 0,
        },
        ensure_ascii=False,
    ).replace("'", "'\\''")
    python_key = repr(key) if own_key else f'os.environ["{KEYS_VARIABLE}"]'
    imports = "from openai import OpenAI" if own_key else "import os; from openai import OpenAI"
    lines = [
        t("Models    {names}", names=", ".join(models) if is_list(models) else ""),
        "",
        t("Base URL  {url}", url=base),
        t("API key   {key}", key=key if own_key else t("the one you set")),
        "",
        f"curl {base}/chat/completions \\",
        f'  -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\',
        f"  -d '{body}'",
        "",
        "python - <<'END'",
        imports,
        f'client = OpenAI(base_url="{base}", api_key={python_key})',
        "answer = client.chat.completions.create(",
        f'    model={json.dumps(first)}, messages=[{{"role": "user", "content": "Who are you?"}}],',
        "    max_tokens=200, temperature=0)",
        "print(answer.choices[0].message.content)",
        "END",
        "",
        t("Ctrl-C stops it."),
    ]
    return lines


def _keys_given() -> tuple[str, ...]:
    """Keys from the environment, removed from it so that no child process inherits them."""
    words = os.environ.pop(KEYS_VARIABLE, "").split(",")
    return tuple(word.strip() for word in words if word.strip())


def _kept_key() -> str:
    from tunery.server.security.tokens import TokenFile

    env.home().mkdir(parents=True, exist_ok=True)
    return TokenFile(env.home() / KEY_FILE).token()


def _check_keys(keys: Sequence[str], settings: ServerSettings) -> None:
    for key in keys:
        if not key.isascii() or not key.isprintable() or any(map(str.isspace, key)):
            raise ConfigError(
                t("--api-key: a key consists of letters, digits and symbols without spaces."),
                fix=t("Omit --api-key to generate one."),
            )
        if len(key) < SHORTEST_KEY and not (settings.is_loopback and not settings.behind_proxy):
            raise LaunchError(
                t("--api-key: {count} characters can be guessed by outsiders.", count=len(key)),
                fix=t("Omit --api-key to generate one, or use at least {count} characters.",
                      count=SHORTEST_KEY),
            )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
