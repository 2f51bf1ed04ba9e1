"""Which disks of a rented machine keep their files: after a stop, and after the release.

AutoDL's disks are as described on its page (https://www.autodl.com/docs/env/): the system disk and
the data disk survive a stop and are deleted with the instance; the file storage outlives it.
"""

from __future__ import annotations

import os
from pathlib import Path

from tunery.i18n import joined, t

AUTODL = "AutoDL"
AUTODL_DATA = Path("/root/autodl-tmp")
AUTODL_SHARED = (Path("/root/autodl-fs"), Path("/root/autodl-nas"))
MARKS = {
    "RUNPOD_POD_ID": ("/workspace", "RunPod"),
    "VAST_CONTAINERLABEL": ("/workspace", "Vast.ai"),
    "COLAB_RELEASE_TAG": ("/content/drive", "Colab"),
    "KAGGLE_KERNEL_RUN_TYPE": ("/kaggle/working", "Kaggle"),
    "PAPERSPACE_FQDN": ("/storage", "Paperspace"),
    "LIGHTNING_CLOUD_PROJECT_ID": ("/teamspace/studios/this_studio", "Lightning"),
}
"""Environment variable that a provider sets -> (folder that survives the machine, provider)."""


def survives(path: Path) -> tuple[bool | None, str]:
    """Whether a folder survives the end of a rented machine, and how that is known.

    Returns:
        Whether it survives (None on an unknown machine), and the reason in words.
    """
    if os.environ.get("AUTODL_DATA_DIR") or AUTODL_DATA.is_dir():
        return True, _on_autodl(path)
    for variable, (folder, provider) in MARKS.items():
        if os.environ.get(variable):
            if path.is_relative_to(folder):
                return True, t(
                    "{folder} is persistent on {provider}", folder=folder, provider=provider
                )
            return False, t(
                "on {provider}, only {folder} is persistent", provider=provider, folder=folder
            )
    return None, ""


def _on_autodl(path: Path) -> str:
    for shared in AUTODL_SHARED:
        if path.is_relative_to(shared):
            return t("{folder} is kept after the instance is released", folder=shared)
    here = [shared for shared in AUTODL_SHARED if shared.is_dir()]
    better = (
        t("to keep files longer, copy them to {folder}", folder=here[0])
        if here
        else t("copy your results before that")
    )
    if path.is_relative_to(AUTODL_DATA):
        kept = t("{folder} is kept when the instance stops and deleted when it is released",
                 folder=AUTODL_DATA)  # fmt: skip
    else:
        kept = t("the system disk is small; {folder} is larger; both are kept when the instance "
                 "stops and deleted when it is released", folder=AUTODL_DATA)  # fmt: skip
    return joined(kept, better, between="; ")
