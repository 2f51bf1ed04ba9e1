"""Read and check the header of a GGUF file before any other reader opens it.

A GGUF header contains counts and lengths that readers trust; a forged one makes them allocate or
read out of bounds (CVE-2024-23496, CVE-2024-25664 to 25667). This module checks every count against
the size of the file, keeps no long arrays, and raises ``ModelError`` with the reason.
Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery.errors import ModelError
from tunery.i18n import t

MAX_KEYS = 4096
MAX_TENSORS = 200_000
MAX_NAME_BYTES = 1024
MAX_STRING_BYTES = 16 * 2**20
KEPT_ARRAY_ITEMS = 256
"""Longer arrays (vocabularies, merges) are skipped; only their length is kept."""

SCALARS = {
    0: ("B", 1), 1: ("b", 1), 2: ("H", 2), 3: ("h", 2), 4: ("I", 4), 5: ("i", 4),
    6: ("f", 4), 7: ("?", 1), 10: ("Q", 8), 11: ("q", 8), 12: ("d", 8),
}  # fmt: skip
STRING, ARRAY = 8, 9

BLOCKS = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""ggml type -> name, elements per block, bytes per block."""


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """One tensor of a GGUF file.

    Args:
        name: Its name.
        shape: Its shape in ggml's order, the contiguous dimension first.
        type: Name of its ggml type, such as ``Q4_1``.
        start: Offset of its data in the file, in bytes.
        num_bytes: Size of its data, in bytes.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    start: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """A GGUF header that passed all checks.

    Args:
        path: The file.
        version: GGUF version, 2 or 3.
        metadata: Scalars, strings and short arrays; for a long array, its length.
        tensors: Every tensor, within the file and not overlapping.
    """

    path: Path
    version: int
    metadata: dict[str, Any]
    tensors: tuple[GGUFTensor, ...]

    @property
    def architecture(self) -> str:
        """Name of the architecture, in llama.cpp's spelling."""
        return str(self.metadata["general.architecture"])

    @property
    def num_parameters(self) -> int:
        """Number of elements of all tensors."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def context_length(self) -> int | None:
        """The context length that the file declares, in tokens; None if it declares none."""
        value = self.metadata.get(f"{self.architecture}.context_length")
        return value if isinstance(value, int) else None

    @property
    def quantization(self) -> str:
        """Name of the ggml type of most of the weights, by bytes."""
        held: dict[str, int] = {}
        for tensor in self.tensors:
            held[tensor.type] = held.get(tensor.type, 0) + tensor.num_bytes
        return max(held, key=lambda name: held[name])


def read_header(path: Path) -> GGUFHeader:
    """Read and check a GGUF file's header; the weights are not read.

    Raises:
        ModelError: The file is not GGUF, its header is invalid, or it is truncated.
    """
    with path.open("rb") as file:
        start = file.read(24)
        if start[:4] != b"GGUF":
            raise ModelError(
                t("{path}: not a GGUF file (it does not start with the letters GGUF).", path=path),
                fix=t("Use a .gguf file, or download it again."),
                path=path,
            )
        if len(start) < 24:
            raise _broken(path, t("it ends inside the header"))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).read()


class _Reader:
    """A cursor over the header; every read is checked against the file's size."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.at = 4

    def read(self) -> GGUFHeader:
        version = self.number("I")
        if version not in (2, 3):
            swapped = version & 0xFFFF == 0
            why = (
                t("it is big-endian")
                if swapped
                else t("it has version {version}; versions 2 and 3 are supported", version=version)
            )
            raise _broken(self.path, why)
        num_tensors, num_keys = self.number("Q"), self.number("Q")
        if not 0 < num_tensors <= MAX_TENSORS or num_tensors * 24 > self.size:
            raise _broken(self.path, t("it claims {count} tensors", count=num_tensors))
        if num_keys > MAX_KEYS or num_keys * 13 > self.size:
            raise _broken(self.path, t("it claims {count} metadata keys", count=num_keys))
        metadata: dict[str, Any] = {}
        for _ in range(num_keys):
            key = self.text(MAX_NAME_BYTES)
            if key in metadata:
                raise _broken(self.path, t("the key {key} appears twice", key=_short(key)))
            metadata[key] = self.value(self.number("I"), key)
        if not isinstance(metadata.get("general.architecture"), str):
            raise _broken(self.path, t("it does not state its architecture"))
        tensors = self.tensors(num_tensors, metadata.get("general.alignment", 32))
        return GGUFHeader(self.path, version, metadata, tensors)

    def need(self, count: int) -> None:
        if count > self.size - self.at:
            raise _broken(self.path, t("it ends inside the header"))

    def number(self, code: str) -> int:
        size = struct.calcsize("<" + code)
        self.need(size)
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += size
        return value

    def text(self, limit: int) -> str:
        length = self.number("Q")
        if length > limit:
            raise _broken(self.path, t("it claims a string of {count} bytes", count=length))
        self.need(length)
        raw = self.data[self.at : self.at + length]
        self.at += length
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise _broken(self.path, t("a string is not UTF-8")) from None

    def value(self, kind: int, key: str) -> Any:
        if kind in SCALARS:
            return self.number(SCALARS[kind][0])
        if kind == STRING:
            return self.text(MAX_STRING_BYTES)
        if kind != ARRAY:
            raise _broken(
                self.path,
                t("the key {key} has the unknown type {type}", key=_short(key), type=kind),
            )
        element, count = self.number("I"), self.number("Q")
        if element in SCALARS:
            code, size = SCALARS[element]
            if count > (self.size - self.at) // size:
                raise _broken(self.path, t("an array claims {count} items", count=count))
            at, self.at = self.at, self.at + count * size
            if count > KEPT_ARRAY_ITEMS:
                return count
            return list(struct.unpack_from(f"<{count}{code}", self.data, at))
        if element != STRING:
            raise _broken(
                self.path,
                t("the key {key} is an array of type {type}", key=_short(key), type=element),
            )
        if count > (self.size - self.at) // 8:
            raise _broken(self.path, t("an array claims {count} items", count=count))
        if count <= KEPT_ARRAY_ITEMS:
            return [self.text(MAX_STRING_BYTES) for _ in range(count)]
        for _ in range(count):
            length = self.number("Q")
            self.need(length)
            self.at += length
        return count

    def tensors(self, count: int, alignment: Any) -> tuple[GGUFTensor, ...]:
        if not isinstance(alignment, int) or not 8 <= alignment <= 2**16 or alignment % 8:
            raise _broken(self.path, t("its alignment is {value}", value=str(alignment)[:40]))
        raw = [self.entry() for _ in range(count)]
        if len({name for name, *_ in raw}) != count:
            raise _broken(self.path, t("two of its tensors have the same name"))
        data_start = -(-self.at // alignment) * alignment
        tensors = [
            self.place(name, shape, kind, data_start + offset) for name, shape, kind, offset in raw
        ]
        end = 0
        for tensor in sorted(tensors, key=lambda tensor: tensor.start):
            if tensor.start < end:
                raise _broken(
                    self.path, t("the tensor {name} overlaps another", name=_short(tensor.name))
                )
            end = tensor.start + tensor.num_bytes
        return tuple(tensors)

    def entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.text(MAX_NAME_BYTES)
        num_dims = self.number("I")
        if not 1 <= num_dims <= 4:
            raise _broken(
                self.path,
                t("the tensor {name} has {count} dimensions", name=_short(name), count=num_dims),
            )
        shape = tuple(self.number("Q") for _ in range(num_dims))
        return name, shape, self.number("I"), self.number("Q")

    def place(self, name: str, shape: tuple[int, ...], kind: int, start: int) -> GGUFTensor:
        if kind not in BLOCKS:
            raise _broken(
                self.path,
                t("the tensor {name} has the unknown type {type}", name=_short(name), type=kind),
            )
        type_name, block, block_bytes = BLOCKS[kind]
        elements = math.prod(shape)
        if elements == 0 or elements >= 2**48 or shape[0] % block:
            raise _broken(
                self.path,
                t("the tensor {name} has the shape {shape}", name=_short(name), shape=list(shape)),
            )
        num_bytes = elements // block * block_bytes
        if start + num_bytes > self.size:
            raise ModelError(
                t(
                    "{path}: truncated: the file has {size} bytes, the tensor {name} "
                    "ends at {end}.",
                    path=self.path,
                    size=self.size,
                    name=_short(name),
                    end=start + num_bytes,
                ),
                fix=t("Download it again."),
                path=self.path,
            )
        return GGUFTensor(name, shape, type_name, start, num_bytes)


def _short(name: str) -> str:
    """A name from an untrusted file, shortened and without control characters."""
    return "".join(ch if ch.isprintable() else "?" for ch in name[:60])


def _broken(path: Path, why: str) -> ModelError:
    return ModelError(
        t("{path}: the GGUF header is inconsistent: {why}.", path=path, why=why),
        fix=t("Download it again, or from another source."),
        path=path,
    )
