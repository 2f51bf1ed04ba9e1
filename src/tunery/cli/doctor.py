"""`tunery doctor`: what works on this machine, and the fix for what does not."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from tunery.cli.console import out, print_json
from tunery.cli.wrapping import prose
from tunery.i18n import t
from tunery.services.machine import Finding, examine

app = App(name="doctor", help=t("Check this machine: packages, device, memory, disks, hub."))

MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "problem": ("✗", "red")}


@app.default
def doctor(*, json: Annotated[bool, Parameter(negative="", help=t("Print JSON."))] = False) -> int:
    """Examine the machine; exits with 1 if something will not work.

    Args:
        json: Print one JSON object.
    """
    findings: list[Finding] = []
    for finding in examine():
        findings.append(finding)
        if not json:
            _show(finding)
    failed = any(finding.level == "problem" for finding in findings)
    if json:
        print_json({"ok": not failed, "findings": [f.as_dict() for f in findings]})
    return int(failed)


def _show(finding: Finding) -> None:
    mark, color = MARKS[finding.level]
    line = Text.assemble((mark, color), " ", finding.text)
    prose(out, line)
    if finding.fix:
        prose(out, Text(f"  → {finding.fix}", style="dim"))
