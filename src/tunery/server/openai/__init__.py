"""The OpenAI-compatible API: ``/v1/chat/completions``, ``/v1/completions``, ``/v1/models``.

Reads requests (schemas, reading), turns them into the engine protocol (prompts), and turns what
comes back into OpenAI's shapes (choices, stream). Knows nothing of engines but the protocol.
"""
