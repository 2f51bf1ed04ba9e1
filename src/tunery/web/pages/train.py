"""Train: the form of a run, generated from the config classes, next to the run's plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tunery.chat import builtin
from tunery.data.formats import FORMATS
from tunery.i18n import t
from tunery.server.api.named import DatasetName, ModelName
from tunery.services import access, datasets, models, settings
from tunery.services.settings import Field, Form, Option
from tunery.web.render import render
from tunery.workers import warm

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class TrainView:
    """The view of train.html.

    Args:
        form: Every setting.
        state: The draft and what is known about it, also for the page's script.
        presets: Name and description of each preset.
        drafts: Names of all drafts, newest first.
        sources: Suggested values by the name of their list: ``models``, ``datasets`` ...
    """

    form: Form
    state: dict[str, Any]
    presets: dict[str, str]
    drafts: list[str]
    sources: dict[str, list[Option]]

    @property
    def preset_names(self) -> dict[str, str]:
        """Display names of the presets."""
        return {name: settings.label_of(f"preset.{name}", "") for name in self.presets}

    @property
    def titles(self) -> str:
        """The sections under More settings that apply to the selected kinds, in one line."""
        shown = (part.title for part in self.form.more if self.has(part.fields[0]))
        return " · ".join(dict.fromkeys(shown))

    def has(self, field: Field) -> bool:
        """Whether the selected types and the open sections have this setting."""
        switch = self.state["values"].get(field.switch) if field.switch else {"value": True}
        if not (switch and switch["value"]):
            return False
        section = self.state["values"].get(f"{field.section}.type")
        return not field.variant or bool(section and section["value"] == field.variant)

    def id(self, field: Field) -> str:
        """The id of a field's control."""
        return "f-" + field.key.replace(".", "-")

    def suggested(self, field: Field) -> list[Option]:
        """Suggestions of a text field."""
        if field.kind not in ("text", "number") or field.source == "models":
            return []
        return [*self.sources.get(field.source, ()), *field.options]

    def helps(self, field: Field) -> dict[str, str]:
        """What each choice of a field means; only that of the chosen one is shown."""
        return {option.value: option.help for option in field.options if option.help}

    def control(self, field: Field) -> dict[str, Any]:
        """The arguments of ``ui.field``."""
        shown = self.state["values"].get(field.path) if self.has(field) else None
        value = shown["value"] if shown else field.default
        listed = [(option.value, option.label) for option in self.sources.get(field.source, ())]
        kind, options = field.kind, [(o.value, o.label) for o in field.options]
        attributes = {"data-path": field.path, "data-kind": kind}
        if kind == "list" and listed:
            another = ("\n", t("Another file or folder…"))
            kind, options, value = "select", [("", t("Add…")), *listed, another], ""
            attributes["data-kind"] = "names"
        elif field.source == "models":
            known = [(str(value), str(value))] if value not in dict(listed) else []
            kind, options = "select", [*known, *listed, ("\n", t("Another name or folder…"))]
        elif kind in ("list", "lines", "pairs"):
            kind = "area"
            attributes["rows"] = "2"
        elif self.suggested(field):
            attributes["list"] = f"{self.id(field)}-list"
        hint = t("name: value") if field.kind == "pairs" else ""
        return {
            "name": field.path if self.has(field) else field.key,
            "label": field.label,
            "value": value,
            "kind": kind,
            "options": options,
            "help": " ".join(filter(None, (field.help, self.helps(field).get(str(value))))),
            "unit": field.unit,
            "placeholder": t("none") if field.optional else hint,
            "reset": True,
            "attrs": attributes,
            "id": self.id(field),
        }


@router.get("/train")
def train(
    request: Request,
    draft: str = "",
    model: ModelName = "",
    dataset: DatasetName = "",
    preset: str = "",
) -> Response:
    """Render the page; ``?from=RUN`` first makes a draft from a run's settings.

    ``model`` is set in the draft that was changed last. ``dataset`` opens the draft made for that
    dataset, or a new one, with a method that can learn from its rows. A draft without settings of
    its own gets the preset that fits the dataset; ``preset`` names a different one.
    """
    run = request.query_params.get("from", "")
    root = str(request.scope.get("root_path") or "")
    if run:
        made = settings.make_draft(run, run=access.run(run))
        return RedirectResponse(f"{root}/train?draft={made.name}", 303)
    found = (
        (settings.get_draft(draft) or settings.Draft(settings.checked_draft_name(draft)))
        if draft
        else None
    )
    found = found or (settings.draft_for(dataset) if dataset else settings.last_draft())
    chosen: dict[str, Any] = {"model.name": model} if model else {}
    if preset in settings.presets() and not settings.has_recipe(found.fields):
        found = settings.Draft(found.name, preset, found.fields)
    if dataset:
        chosen["data.train"] = [dataset]
        method = datasets.method_for(dataset, str(found.fields.get("method.type") or ""))
        if found.preset is None and not settings.has_recipe(found.fields):
            suited = settings.preset_of(method, datasets.origin_of(dataset))
            found = settings.Draft(found.name, suited, found.fields)
        else:
            chosen |= {"method.type": method} if method else {}
    if chosen or preset:
        found = settings.put_draft(
            settings.Draft(found.name, found.preset, {**found.fields, **chosen})
        )
        return RedirectResponse(f"{root}/train?draft={found.name}", 303)
    warm.pool().warm()
    return page(request, found)


def page(request: Request, draft: settings.Draft) -> HTMLResponse:
    """Render the page of a draft."""
    checked = settings.check_draft(draft)
    names = [row["name"] for row in settings.list_drafts()]
    view = TrainView(
        form=settings.form(),
        state=checked.as_dict() | {"planning": checked.can_plan},
        presets=settings.presets(),
        drafts=names if draft.name in names else [draft.name, *names],
        sources=_sources(),
    )
    return render(request, "train.html", view)


def _sources() -> dict[str, list[Option]]:
    return {
        "models": [Option(each["name"], each["name"]) for each in models.known() if each["ok"]],
        "datasets": [Option(each["name"], each["name"]) for each in datasets.listing()],
        "templates": [Option(name, name) for name in builtin.choices()],
        "formats": [Option(name, name) for name in FORMATS],
    }
