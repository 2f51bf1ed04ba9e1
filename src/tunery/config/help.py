"""All settings with their help, formatted for a terminal."""

from __future__ import annotations

import textwrap

from tunery import i18n
from tunery.config import settings
from tunery.i18n import t

WIDTH = 92


def help_table(language: str | None = None, *, prefix: str = "", width: int = WIDTH) -> str:
    """Format all settings for a terminal, one block per section.

    Args:
        language: ``en`` or ``zh``; by default the current one.
        prefix: Only settings whose path starts with this: ``adapter``, ``data.replay``.
        width: Columns that English help takes.
    """
    with i18n.speaking(language or i18n.language()):
        lines = [t("Settings, in a file (section:, then name: value below it) or as flags:")]
        wanted = [s for s in settings.walk() if settings.under(s.path, prefix)]
        heads = {(g.path, g.variant): g for g in settings.groups()}
        last: tuple[str, str | None] | None = None
        for setting in wanted:
            here = (setting.section, setting.variant)
            if here != last and here in heads:
                only = f"{here[0]}.type={here[1]}" if here[1] else here[0]
                lines += ["", f"{only}: {heads[here].help()}"]
            last = here
            default = t("default: {value}", value=settings.show(setting.default))
            lines.append(f"  --{setting.path}  {setting.type}  ({default})")
            detail = setting.help()
            if setting.bounds:
                detail = t("{line} ({more})", line=detail, more=setting.bounds)
            lines += _wrapped(detail, width)
        return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    """Indent and wrap a help text; Chinese, which has no spaces, is wrapped by the terminal."""
    if not text.isascii():
        return [f"      {text}"]
    return textwrap.wrap(text, width, initial_indent="      ", subsequent_indent="      ")
