"""Load a further model beside the trained one, to read its predictions."""

from __future__ import annotations

from typing import Any

from tunery.models import heads
from tunery.models.attach import load_adapter
from tunery.models.computes import load_computing
from tunery.models.resolve import resolve
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare


def load_other(name: str, *, dtype: str, device: str) -> Policy:
    """Load a model that is only read: in eval mode, without gradients.

    Args:
        name: Any model name; an adapter or a run is loaded onto its base.
        dtype: As ``model.dtype``.
        device: As returned by ``pick_device``.

    Raises:
        ModelError: It is not on this machine, cannot be loaded, or writes no text.
    """
    found = resolve(name)
    heads.require_writer(found)
    model: Any
    model, _, _ = load_computing(found.model_folder, dtype=dtype, device=device)
    if found.base is not None:
        model = load_adapter(model, found.path)
    model.eval().requires_grad_(False)
    prepare(model)
    return Policy(model)
