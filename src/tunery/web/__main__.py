"""``python -m tunery.web``: the process that ``tunery web`` becomes after parsing."""

from __future__ import annotations

import argparse
import functools
import sys
import webbrowser
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunery.errors import TuneryError, disk_errors
from tunery.i18n import t

if TYPE_CHECKING:
    from fastapi import FastAPI


def main(words: Sequence[str] | None = None) -> int:
    """Start the web server; returns when it has stopped."""
    parser = argparse.ArgumentParser(prog="python -m tunery.web")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--root-path", default="")
    parser.add_argument("--public-url", action="append", default=[])
    parser.add_argument("--cors-origin", action="append", default=[])
    parser.add_argument("--open", action="store_true")
    parser.add_argument("--new-token", action="store_true")
    given = parser.parse_args(words)
    try:
        with disk_errors():
            _start(given)
    except TuneryError as error:
        print(error.message, file=sys.stderr)
        if error.fix:
            print(t("fix: ") + error.fix, file=sys.stderr)
        return error.exit_status
    return 0


def _start(given: argparse.Namespace) -> None:
    from tunery.server import run
    from tunery.server.settings import ServerSettings
    from tunery.web.app import create

    app = create(
        ServerSettings(
            host=given.host,
            port=given.port,
            root_path=given.root_path,
            public_urls=tuple(given.public_url),
            cors_origins=tuple(given.cors_origin),
        )
    )
    if given.new_token:
        app.state.token.renew()
    run.serve(app, then=functools.partial(_show, app) if given.open else None)


def _show(app: FastAPI) -> None:
    settings, token = app.state.settings, app.state.token.token()
    webbrowser.open(f"http://127.0.0.1:{settings.port}{settings.root_path}/#token={token}")


if __name__ == "__main__":
    sys.exit(main())
