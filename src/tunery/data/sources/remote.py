"""Datasets that are not on this machine yet: fetched once, then read like any file."""

from __future__ import annotations

from tunery.data.dataset import Dataset


def fetch(dataset: Dataset) -> Dataset:
    """Bring a hub or cloud dataset's files; others are returned as they are.

    Raises:
        DataError: It cannot be fetched; the message says why and what to do.
    """
    if not dataset.is_remote:
        return dataset
    if dataset.source == "cloud":
        from tunery.data.sources.cloud import fetch_cloud

        return fetch_cloud(dataset)
    from tunery.data.sources.hub import fetch_hub

    return fetch_hub(dataset)
