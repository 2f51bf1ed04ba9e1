"""The server: REST under ``/api/v1``, live events, the OpenAI-compatible API, and their security.

The page (``tunery.web``) and ``tunery serve`` are both made by ``app.create_app``.
"""
