"""Save and load tensors in the safetensors format, in pieces and without a second copy.

The library's own writer first builds the file's bytes in memory, and reports a full disk only in
its message. This one streams every tensor from where it is stored and raises the system's own
error, so that the loop can tell a full disk from a broken one. The format is a length, a JSON
header and the bytes: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tunery import atomic, faults

CHUNK_BYTES = 8 << 20
_NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def write_tensors(
    file: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file and flush it to the disk.

    Raises:
        OSError: The disk is full or cannot be written; a partial file may remain.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata or {"format": "pt"})}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("xb", buffering=0) as out:
        _write(out.fileno(), memoryview(len(text).to_bytes(8, "little") + text))
        for tensor in tensors.values():
            flat = tensor.detach().reshape(-1).view(torch.uint8)
            for start in range(0, flat.numel(), CHUNK_BYTES):
                piece = flat[start : start + CHUNK_BYTES].cpu()
                data: Any = piece.numpy()
                _write(out.fileno(), memoryview(data))
        os.fsync(out.fileno())


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file whose integrity has been checked (manifest)."""
    from safetensors.torch import load_file

    return load_file(file)


def read_metadata(file: Path) -> dict[str, str]:
    """Read the metadata in the header of a safetensors file, without any tensor."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return opened.metadata() or {}


def write_text(file: Path, text: str) -> None:
    """Write a small file and flush it to the disk."""
    with file.open("xb", buffering=0) as out:
        _write(out.fileno(), memoryview(text.encode()))
        os.fsync(out.fileno())


def allocate(file: Path, size: int) -> None:
    """Allocate ``size`` bytes on the disk and release them immediately.

    Raises:
        OSError: There is not enough space (ENOSPC), or the folder cannot be written.
    """
    try:
        with file.open("xb") as out:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(out.fileno(), 0, max(1, size))
            elif shutil.disk_usage(file.parent).free < size:  # macOS
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
    finally:
        file.unlink(missing_ok=True)


def full_disk(error: BaseException) -> OSError | None:
    """The error, if it is a temporary disk error (full, over quota, read-only), otherwise None.

    A Rust library's report of such an error is not an ``OSError`` and is converted to one.
    """
    if isinstance(error, OSError) and error.errno in _PASSING:
        return error
    found = re.search(r"os error (\d+)", str(error))
    if found is not None and int(found[1]) in _PASSING:
        return OSError(int(found[1]), os.strerror(int(found[1])))
    return None


def remove_tree(folder: Path) -> None:
    """Delete a folder, renaming it first so that no reader ever sees half of it."""
    trash = folder.with_name(f".trash-{folder.name.lstrip('.')}-{os.getpid()}")
    try:
        folder.rename(trash)
    except FileNotFoundError:
        return
    shutil.rmtree(trash, ignore_errors=True)


def fsync_tree(folder: Path) -> None:
    """Flush every file and folder below ``folder`` that another library wrote."""
    for path in [*sorted(folder.rglob("*")), folder]:
        atomic.flush(path)


def _write(descriptor: int, data: memoryview) -> None:
    faults.point("write", bytes=len(data))
    while data:
        data = data[os.write(descriptor, data) :]
