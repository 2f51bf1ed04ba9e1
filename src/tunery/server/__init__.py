"""The server: REST under ``/api/v1``, live events, the OpenAI-compatible API, and their security.

The web pages (``tunery.web``) and ``tunery serve`` are both built with ``app.create_app``.
"""
