"""Anthropic's Messages API: a view of the same chats."""
