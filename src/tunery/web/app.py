"""The web server: the API and all pages."""

from __future__ import annotations

from fastapi import FastAPI

from tunery.server.app import create_app
from tunery.server.settings import ServerSettings
from tunery.web.pages.errors import error_page
from tunery.web.routes import PAGES


def create(settings: ServerSettings | None = None) -> FastAPI:
    """Make the application that ``tunery web`` runs."""
    app = create_app(settings, routers=PAGES)
    app.state.error_page = error_page
    return app
