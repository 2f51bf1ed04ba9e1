"""GGUF headers: a forged one is refused before any reader believes it."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import PATIENCE_SECONDS

from tunery.errors import ModelError
from tunery.models.architectures import causal_model_types, gguf_architectures
from tunery.models.gguf import BLOCKS, read_header
from tunery.models.importing import check_architecture
from tunery.models.resolve import resolve

U32, STRING, ARRAY, I32 = 4, 8, 9, 5


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str, kind: int, value: Any) -> bytes:
    head = text(name) + struct.pack("<I", kind)
    if kind == STRING:
        return head + text(value)
    if kind == ARRAY:
        return head + struct.pack("<IQ", STRING, len(value)) + b"".join(map(text, value))
    return head + struct.pack("<I", value)


KEYS = (
    key("general.architecture", STRING, "llama"),
    key("llama.context_length", U32, 2048),
    key("tokenizer.ggml.tokens", ARRAY, ["a", "b", "c"]),
)


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    head = text(name) + struct.pack("<I", len(shape))
    return head + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)


def gguf(
    keys: tuple[bytes, ...] = KEYS,
    tensors: tuple[bytes, ...] = (tensor("w", (32, 2)),),
    *,
    version: int = 3,
    num_tensors: int | None = None,
    num_keys: int | None = None,
    body: int = 256,
) -> bytes:
    counts = (num_tensors if num_tensors is not None else len(tensors), num_keys or len(keys))
    head = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(keys + tensors)
    return head + b"\0" * (-len(head) % 32) + b"\0" * body


def refused(path: Path, data: bytes) -> ModelError:
    path.write_bytes(data)
    with pytest.raises(ModelError) as error:
        read_header(path)
    assert error.value.fix
    return error.value


def test_a_whole_header_is_read(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf())
    header = read_header(file)
    assert header.architecture == "llama"
    assert header.context_length == 2048
    assert header.num_parameters == 64
    assert header.quantization == "F32"
    assert header.metadata["tokenizer.ggml.tokens"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a GGUF file"),
        (b"PK\x03\x04" + b"\0" * 100, "not a GGUF file"),
        (b"GGUF\x03\0\0", "it ends inside the header"),
        (gguf(version=1), "it has version 1;"),
        (gguf(version=3 << 24), "it is big-endian"),
        (gguf(num_tensors=2**63), "claims 9223372036854775808 tensors"),
        (gguf(num_tensors=0), "claims 0 tensors"),
        (gguf(num_keys=2**62), "metadata keys"),
        (gguf((text(b"x" * 5000),)), "claims a string of 5000 bytes"),
        (gguf((struct.pack("<Q", 2**64 - 1),)), "claims a string of 18446744073709551615"),
        (gguf((*KEYS, KEYS[0])), "appears twice"),
        (gguf((key("a", 77, 0), *KEYS)), "has the unknown type 77"),
        (gguf((text("a") + struct.pack("<IIQ", ARRAY, I32, 2**61),)), "an array claims"),
        (gguf((text("a") + struct.pack("<IIQ", ARRAY, STRING, 2**61),)), "an array claims"),
        (gguf((text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1),)), "is an array of type 9"),
        (gguf((key("a", STRING, b"\xff\xfe"), *KEYS)), "is not UTF-8"),
        (gguf((key("x", U32, 1),)), "it does not state its architecture"),
        (gguf((key("general.architecture", U32, 1),)), "it does not state its architecture"),
        (gguf((*KEYS, key("general.alignment", U32, 0))), "its alignment is 0"),
        (gguf((*KEYS, key("general.alignment", U32, 7))), "its alignment is 7"),
        (gguf(tensors=(tensor("w", ()),)), "has 0 dimensions"),
        (gguf(tensors=(tensor("w", (1,) * 9),)), "has 9 dimensions"),
        (gguf(tensors=(tensor("w", (32, 2), kind=99),)), "unknown type 99"),
        (gguf(tensors=(tensor("w", (31, 2), kind=3),)), "has the shape [31, 2]"),
        (gguf(tensors=(tensor("w", (2**40, 2**40)),)), "has the shape"),
        (gguf(tensors=(tensor("w", (0, 2)),)), "has the shape [0, 2]"),
        (gguf(tensors=(tensor("w", (32, 2), offset=2**50),)), "truncated"),
        (gguf(tensors=(tensor("w", (32,)), tensor("w", (32,), offset=128))), "the same name"),
        (gguf(tensors=(tensor("a", (32,)), tensor("b", (32,), offset=64))), "overlaps another"),
        (gguf(body=100), "truncated"),
    ],
)
def test_a_crafted_header_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in refused(tmp_path / "m.gguf", data).message


MUTANTS = """
import random, resource, sys
from pathlib import Path
from tunery.errors import ModelError
from tunery.models.gguf import read_header
resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
good, file = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
rng = random.Random(int(sys.argv[3]))
refused = 0
for _ in range(2000):
    data = bytearray(good)
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data) - 256)] = rng.randrange(256)
    file.write_bytes(data)
    try:
        read_header(file)
    except ModelError:
        refused += 1
status = Path('/proc/self/status').read_text()  # ru_maxrss would count the parent before exec
peak = int(status.split('VmHWM:')[1].split()[0]) // 1024
print(refused, peak)
"""


def test_two_thousand_mutants_neither_crash_nor_eat_memory(tmp_path: Path) -> None:
    good = tmp_path / "good.gguf"
    vocabulary = key("tokenizer.ggml.tokens", ARRAY, [f"t{i}" for i in range(300)])
    tensors = tuple(tensor(f"blk.{i}.w", (32,), offset=i * 128) for i in range(8))
    good.write_bytes(gguf((*KEYS[:2], vocabulary), tensors, body=1024))
    seed = str(random.Random(7).randrange(10**6))
    argv = [sys.executable, "-c", MUTANTS, str(good), str(tmp_path / "m.gguf"), seed]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stderr[-2000:]
    num_refused, peak_mib = map(int, done.stdout.split())
    assert num_refused > 500
    assert peak_mib < 200


def test_every_tensor_type_is_as_large_as_gguf_says() -> None:
    from gguf import GGML_QUANT_SIZES

    for kind, sizes in GGML_QUANT_SIZES.items():
        assert BLOCKS[kind.value] == (kind.name, *sizes)


def test_an_architecture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf((key("general.architecture", STRING, "rwkv99"), *KEYS[1:])))
    with pytest.raises(ModelError, match="with the architecture rwkv99") as error:
        check_architecture(read_header(file))
    assert "llama" in error.value.fix
    file.write_bytes(gguf(KEYS[:2]))
    with pytest.raises(ModelError, match="contains no tokenizer"):
        check_architecture(read_header(file))
    split = text("split.count") + struct.pack("<IH", 2, 3)
    file.write_bytes(gguf((*KEYS, split)))
    with pytest.raises(ModelError, match="one part of a GGUF file split into 3"):
        check_architecture(read_header(file))


def test_a_gguf_file_that_is_not_imported_says_how(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf())
    with pytest.raises(ModelError) as error:
        resolve(str(file))
    assert "a GGUF file (llama, F32) that is not imported yet" in error.value.message
    assert error.value.fix == f"Import it once: tunery models pull {file}"


def test_the_light_tables_are_those_of_transformers() -> None:
    code = """
import json
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES
from transformers.integrations.gguf import GGUF_CONFIG_ARCHS
print(json.dumps([list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
                  [*GGUF_SUPPORTED_ARCHITECTURES, *GGUF_CONFIG_ARCHS]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    causal, ggufs = json.loads(done.stdout)
    assert causal_model_types() == set(causal)
    assert set(ggufs) - gguf_architectures() == {"general", "tokenizer", "t5", "umt5"}
