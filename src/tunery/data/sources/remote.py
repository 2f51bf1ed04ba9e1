"""Remote datasets: downloaded once, then read like local files."""

from __future__ import annotations

from tunery.data.dataset import Dataset


def fetch(dataset: Dataset) -> Dataset:
    """Download the files of a hub or cloud dataset; other datasets are returned unchanged.

    Raises:
        DataError: The dataset cannot be downloaded.
    """
    if not dataset.is_remote:
        return dataset
    if dataset.source == "cloud":
        from tunery.data.sources.cloud import fetch_cloud

        return fetch_cloud(dataset)
    from tunery.data.sources.hub import fetch_hub

    return fetch_hub(dataset)
