"""The router (load-balancing) loss of mixture-of-experts models, which training does not add.

In transformers, a model adds it to its own loss if its config sets ``output_router_logits``, which
is off by default. Here the loss is that of the training method, so it is never added; a notice says
so, because other trainers add it with such a config.
"""

from __future__ import annotations

from typing import Any

from tunery.i18n import t


def router_loss(config: Any) -> str:
    """The notice on a model's router loss, translated; empty if it has none.

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
