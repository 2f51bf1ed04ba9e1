"""The environment variables of a worker; nothing is started here."""

from __future__ import annotations

import os
from collections.abc import Mapping

ALLOWED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TEMP", "TMP", "TZ", "LANG", "LANGUAGE",
    "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "LD_LIBRARY_PATH", "LD_PRELOAD",
    "DYLD_LIBRARY_PATH", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME",
    "MODELSCOPE_CACHE", "SSL_CERT_FILE", "SystemRoot",
)  # fmt: skip
"""Variables that a worker may see; hub tokens and cloud keys are not among them."""
ALLOWED_PREFIXES = (
    "LC_", "TUNERY_", "OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_", "CUDA_", "NVIDIA_", "NCCL_",
    "ROCR_", "HIP_", "PYTORCH_", "TORCH", "TRITON_", "COVERAGE_",
)  # fmt: skip
_SECRET = ("TOKEN", "SECRET", "PASSWORD", "API_KEY")


def worker_env(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The worker's environment: what it needs to compute, no secrets, and no hub access.

    Everything a run needs is downloaded before it starts, so the hub is disabled here.
    """
    environ = os.environ if environ is None else environ
    kept = {name: value for name, value in environ.items() if _is_allowed(name)}
    return {
        **kept,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUTF8": "1",  # logs can hold any character, whatever the locale
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _is_allowed(name: str) -> bool:
    if any(word in name.upper() for word in _SECRET):
        return False
    return name in ALLOWED or name.startswith(ALLOWED_PREFIXES)
