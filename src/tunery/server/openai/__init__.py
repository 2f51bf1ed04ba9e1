"""The OpenAI-compatible API: ``/v1/chat/completions``, ``/v1/completions``, ``/v1/models``.

Reads requests (schemas, reading), turns them into the engine protocol (prompts), and turns the
results into OpenAI's format (choices, stream). Depends on engines only through the protocol.
"""
