"""The loss that spreads tokens over the experts of a mixture, and whether training adds it.

In transformers a model adds it to its own loss only where its config sets ``output_router_logits``,
which is off by default. The losses here are those of the methods, so it is never added; a person is
told, because with such a config other trainers would.
"""

from __future__ import annotations

from typing import Any

from tunery.i18n import t


def router_loss(config: Any) -> str:
    """What to know about a model's router loss; empty where it has none.

    Args:
        config: The model's config.
    """
    text = config.get_text_config(decoder=True)
    weight = getattr(text, "router_aux_loss_coef", None)
    if not weight:
        return ""
    if getattr(text, "output_router_logits", False):
        return t(
            "Mixture of experts: config.json enables the router loss "
            "(output_router_logits, router_aux_loss_coef {weight:g}), but it is not "
            "added here. Only the loss of the answers is used.",
            weight=weight,
        )
    return t(
        "Mixture of experts: the router loss (router_aux_loss_coef {weight:g}) is not "
        "added, as in transformers without output_router_logits. Only the loss of the "
        "answers is used.",
        weight=weight,
    )
