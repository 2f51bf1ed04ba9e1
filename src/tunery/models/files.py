"""Check the files of a model folder: present, complete and in a supported format.

Only names, sizes and headers are read, so a 70B model takes milliseconds. Errors are ``ModelError``
with what is missing and what to do.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery.errors import ModelError
from tunery.i18n import joined, t

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pt2", ".joblib")
LFS_MARK = b"version https://git-lfs.github.com/spec/"
MAX_JSON_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 100 * 2**20
"""The limit of the safetensors library."""
DTYPE_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16,
    "BF16": 16, "I16": 16, "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8,
    "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight files of a folder, checked: all present, with the size their headers give.

    Args:
        files: The .safetensors files.
        names: Every tensor name, with its file.
        dtype: The dtype of most elements, in safetensors' spelling.
        num_parameters: Number of elements of all tensors.
        size_bytes: Total size of the weight files, in bytes.
    """

    files: tuple[Path, ...]
    names: dict[str, Path]
    dtype: str
    num_parameters: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor in a safetensors header."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def num_elements(self) -> int:
        """Number of elements of the tensor."""
        return math.prod(self.shape)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder.

    Raises:
        ModelError: The file is missing, a Git LFS pointer, too large, or not a JSON object.
    """
    try:
        size = path.stat().st_size
        raw = path.read_bytes() if size <= MAX_JSON_BYTES else b""
    except FileNotFoundError:
        raise ModelError(
            t("{folder}: {file} is missing.", folder=path.parent, file=path.name),
            fix=t("Use the folder of a complete model, or download it again."),
            path=path,
        ) from None
    if raw.startswith(LFS_MARK):
        raise lfs_pointer(path.parent, [path.name])
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelError(
            t("{path}: not a JSON object.", path=path),
            fix=t("Use the folder of a complete model, or download it again."),
            path=path,
        )
    return value


def check_weights(folder: Path, *, again: str = "") -> Weights:
    """Find and check the safetensors files of a model folder.

    Args:
        folder: The model's folder.
        again: The command that downloads missing files, for the message; empty without one.

    Raises:
        ModelError: A shard is missing; a file is truncated, malformed or a Git LFS pointer; or
            the folder has only pickle or GGUF weights.
    """
    wanted = _wanted(folder)
    fix = (
        t("Download what is missing: {command}", command=again)
        if again
        else t("Copy the missing files there, or download the model again.")
    )
    if not wanted:
        raise _no_weights(folder, fix)
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise _missing(folder, wanted, missing, fix)
    pointers = [name for name in wanted if is_lfs_pointer(folder / name)]
    if pointers:
        raise lfs_pointer(folder, pointers)
    names: dict[str, Path] = {}
    elements: Counter[str] = Counter()
    for name in wanted:
        entries = read_safetensors_header(folder / name)
        for entry in entries.values():
            elements[entry.dtype] += entry.num_elements
        names |= dict.fromkeys(entries, folder / name)
    _check_index(folder, names)
    files = tuple(folder / name for name in wanted)
    return Weights(
        files,
        names,
        dtype=elements.most_common(1)[0][0] if elements else "",
        num_parameters=elements.total(),
        size_bytes=sum(file.stat().st_size for file in files),
    )


def read_safetensors_header(path: Path) -> dict[str, TensorEntry]:
    """Read tensor names, dtypes and shapes, and check every offset against the file's size.

    Raises:
        ModelError: The file is truncated or its header is invalid.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise _broken(path, t("it is {size} bytes long", size=size))
        (length,) = struct.unpack("<Q", start)
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise _broken(path, t("its header claims {count} bytes", count=length))
        raw = file.read(length)
    try:
        header = json.loads(raw)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        tensors = {name: _entry(entry) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _broken(path, t("its header is not valid JSON")) from None
    end = 0
    for name, (_, begin, stop) in sorted(tensors.items(), key=lambda item: item[1][1]):
        if begin != end:
            raise _broken(path, t("the tensor {name} is at the wrong position", name=name[:80]))
        end = stop
    if end != size - 8 - length:
        raise ModelError(
            t(
                "{path}: truncated or damaged: the header requires {need} bytes, the "
                "file has {size}.",
                path=path,
                need=end + 8 + length,
                size=size,
            ),
            fix=t("Download this file again."),
            path=path,
        )
    return {name: entry for name, (entry, _, _) in tensors.items()}


def check_adapter(folder: Path) -> Path:
    """Check an adapter's files and return the path of its weights.

    Raises:
        ModelError: The config or the weights are missing, pickled or truncated.
    """
    read_json(folder / ADAPTER_CONFIG)
    path = folder / ADAPTER_WEIGHTS
    if path.is_file():
        if is_lfs_pointer(path):
            raise lfs_pointer(folder, [path.name])
        read_safetensors_header(path)
        return path
    pickled = (folder / "adapter_model.bin").is_file()
    raise ModelError(
        t(
            "{folder}: the adapter weights are a pickle file (adapter_model.bin), which "
            "can run code when opened; only safetensors files are loaded.",
            folder=folder,
        )
        if pickled
        else t("{folder}: the adapter weights {file} are missing.", folder=folder, file=path.name),
        fix=t("Copy the missing files there, or download the model again."),
        path=folder,
    )


def is_lfs_pointer(path: Path) -> bool:
    """Whether the file is a Git LFS pointer instead of the content."""
    with path.open("rb") as file:
        return file.read(len(LFS_MARK)) == LFS_MARK


def lfs_pointer(folder: Path, names: Iterable[str]) -> ModelError:
    """The error for files that are Git LFS pointers; ``names`` has at least one."""
    listed = list(names)
    return ModelError(
        t(
            "{folder}: {file} is a Git LFS pointer, not the file itself ({count} such files).",
            folder=folder,
            file=listed[0],
            count=len(listed),
        ),
        fix=t("Run git lfs pull in that folder, or: tunery models pull OWNER/NAME"),
        path=folder,
    )


def python_files(folder: Path) -> list[Path]:
    """The .py files of a model folder, sorted."""
    return sorted(folder.glob("*.py"))


def _entry(entry: dict[str, Any]) -> tuple[TensorEntry, int, int]:
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    numbers = (*shape, begin, end)
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise ValueError("a shape or an offset is not a count")
    if math.prod(shape) * DTYPE_BITS[entry["dtype"]] != (end - begin) * 8:
        raise ValueError("a tensor's bytes do not fit its shape")
    return TensorEntry(str(entry["dtype"]), shape), begin, end


def _wanted(folder: Path) -> list[str]:
    """Names of the weight files that the folder should have; from its index if there is one."""
    if (folder / WEIGHTS).is_file() or (folder / WEIGHTS).is_symlink():
        return [WEIGHTS]
    index = folder / INDEX
    if index.is_file() or index.is_symlink():
        names = read_json(index).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise ModelError(
                t("{path}: the index names no weight files.", path=index),
                fix=t("Download this file again."),
            )
        files = sorted({str(name) for name in names.values()})
        for name in files:
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise ModelError(
                    t(
                        "{path}: the index refers to {file}, outside its folder.",
                        path=index,
                        file=name,
                    ),
                    fix=t("Do not use this model."),
                )
        return files
    found = sorted(file.name for file in folder.glob("model-*-of-*.safetensors"))
    if found:  # shards without their index
        raise ModelError(
            t(
                "{folder}: {index} is missing, with {count} shards present.",
                folder=folder,
                count=len(found),
                index=INDEX,
            ),
            fix=t("Copy the missing files there, or download the model again."),
        )
    return []


def _missing(folder: Path, wanted: list[str], missing: list[str], fix: str) -> ModelError:
    if len(wanted) == 1:
        what = t("{folder}: the weights {file} are missing.", folder=folder, file=missing[0])
    elif len(missing) == 1:
        what = t(
            "{folder}: shard {number} of {total} is missing ({file}).",
            folder=folder,
            number=wanted.index(missing[0]) + 1,
            total=len(wanted),
            file=missing[0],
        )
    else:
        what = t(
            "{folder}: {count} of {total} shards are missing: {files}.",
            folder=folder,
            count=len(missing),
            total=len(wanted),
            files=", ".join(missing[:4]) + (" ..." if len(missing) > 4 else ""),
        )
    return ModelError(what, fix=fix, path=folder, missing=missing)


def _no_weights(folder: Path, fix: str) -> ModelError:
    pickles = sorted(
        file.name for file in folder.iterdir() if file.name.endswith(PICKLES) and file.is_file()
    )
    ggufs = sorted(file.name for file in folder.glob("*.gguf"))
    if pickles:
        return ModelError(
            t(
                "{folder}: the weights are pickle files ({files}), which can run code "
                "when opened; only safetensors files are loaded.",
                folder=folder,
                files=joined(*pickles[:3], between=", "),
            ),
            fix=t(
                "Look for a version with safetensors, or convert it in a sandbox: load "
                "it with transformers, call save_pretrained there and use the result."
            ),
            path=folder,
        )
    if ggufs:
        return ModelError(
            t(
                "{folder}: the weights are GGUF files ({files}).",
                folder=folder,
                files=joined(*ggufs[:5], between=", "),
            ),
            fix=t("Choose one of them: {path}", path=folder / ggufs[0]),
            path=folder,
        )
    return ModelError(
        t("{folder}: there are no weights (no {file}).", folder=folder, file=WEIGHTS),
        fix=fix,
        path=folder,
    )


def _check_index(folder: Path, names: dict[str, Path]) -> None:
    if (folder / WEIGHTS) in names.values() or not (folder / INDEX).is_file():
        return
    promised = read_json(folder / INDEX)["weight_map"]
    lost = [name for name, file in promised.items() if names.get(name) != folder / str(file)]
    if lost:
        raise ModelError(
            t(
                "{folder}: missing in the shards: {count} tensors of the index ({name} ...).",
                folder=folder,
                count=len(lost),
                name=lost[0][:80],
            ),
            fix=t("The shards belong to another version: download the model again."),
            path=folder,
        )


def _broken(path: Path, why: str) -> ModelError:
    return ModelError(
        t("{path}: not a complete safetensors file: {why}.", path=path, why=why),
        fix=t("Download this file again."),
        path=path,
    )
