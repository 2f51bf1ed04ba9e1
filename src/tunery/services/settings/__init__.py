"""Settings: show, explain and compare them, presets, the form, and drafts of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.services._facade import names_of

if TYPE_CHECKING:
    from tunery.services.settings._drafts import (
        CheckedDraft,
        Draft,
        check_draft,
        checked_draft_name,
        delete_draft,
        draft_for,
        get_draft,
        last_draft,
        list_drafts,
        make_draft,
        no_such_draft,
        plan_draft,
        plan_in_words,
        put_draft,
        put_draft_yaml,
        rename_draft,
    )
    from tunery.services.settings._filled import fields_of_values, fill_form, words_of
    from tunery.services.settings._forms import Field, Form, Option, choices, form, label_of
    from tunery.services.settings._reading import with_places, with_ways
    from tunery.services.settings._recipes import has_recipe, preset_of
    from tunery.services.settings._remedies import with_remedies
    from tunery.services.settings._showing import diff, flat, listed, presets, rows, written
    from tunery.services.settings._wording import for_the_page, named
else:
    __getattr__ = names_of(__file__, __name__)

__all__ = [
    "CheckedDraft", "Draft", "Field", "Form", "Option", "check_draft", "checked_draft_name",
    "choices",
    "delete_draft", "diff", "draft_for", "fields_of_values", "fill_form", "flat", "for_the_page",
    "form", "get_draft", "has_recipe", "label_of", "last_draft", "list_drafts", "listed",
    "make_draft", "named", "no_such_draft", "plan_draft", "plan_in_words", "preset_of", "presets",
    "put_draft", "put_draft_yaml", "rename_draft", "rows", "with_places", "with_remedies",
    "with_ways", "words_of", "written",
]  # fmt: skip
