"""Any name becomes a folder, or a sentence that says what is missing and what to do."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from tests.hub import Hub, model_files, safetensors, write_files

from tunery.errors import ModelError
from tunery.models import consent, hubcache
from tunery.models.rebase import name_base
from tunery.models.resolve import resolve
from tunery.runs import manifest

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5\n"
COMMITS = ("a" * 40, "b" * 40)
LORA = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}


@pytest.fixture(autouse=True)
def hf_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hf"


def cached(repo: str, files: dict[str, bytes], commit: str = COMMITS[0], ref: str = "main") -> Path:
    folder = hubcache.repo_dir(repo)
    write_files(folder / "snapshots" / commit, files)
    if ref:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return folder


def adapter_files(base: str = "org/base") -> dict[str, bytes]:
    return {
        "adapter_config.json": json.dumps({**LORA, "base_model_name_or_path": base}).encode(),
        "adapter_model.safetensors": safetensors({"lora_A.weight": (8, 16)}),
    }


def refused(name: object) -> ModelError:
    with pytest.raises(ModelError) as error:
        resolve(str(name))
    assert error.value.fix
    return error.value


def make_run(home: Path, name: str = "r1", model: str = "org/base") -> Path:
    folder = home / "runs" / name
    (folder / "control").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "config.yaml").write_text("{}\n")
    (folder / "run.json").write_text(json.dumps({"model": model}))
    return folder


def make_checkpoint(run: Path, step: int, files: dict[str, bytes], part: str = "adapter") -> Path:
    folder = run / "checkpoints" / f"step-{step:08d}"
    write_files(folder / part, files)
    manifest.write_manifest(
        folder, step=step, config_hash="c", data_hash="d", run=run.name, versions={}
    )
    return folder


class TestFolders:
    def test_a_model_folder_is_described(self, tmp_path: Path) -> None:
        found = resolve(str(write_files(tmp_path / "m", model_files(shards=3))))
        assert found.kind == "folder"
        assert found.architecture == "llama"
        assert found.num_parameters == 3 * 64 * 16
        assert found.context_length == 2048
        assert found.chat_template
        assert found.weights == "safetensors F32"
        assert found.model_folder == tmp_path / "m"
        assert set(found.as_dict()) >= {"path", "kind", "base", "why"}

    def test_a_relative_folder_wins_over_a_hub_id_of_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write_files(tmp_path / "org" / "base", model_files())
        assert resolve("org/base").path == tmp_path / "org" / "base"

    def test_a_missing_config_is_named(self, tmp_path: Path) -> None:
        files = model_files()
        del files["config.json"]
        folder = write_files(tmp_path / "m", files)
        assert refused(folder).message == f"{folder}: config.json is missing."

    def test_an_empty_folder_has_no_config(self, tmp_path: Path) -> None:
        assert "config.json is missing" in refused(tmp_path).message

    def test_a_config_that_is_not_json_is_named(self, tmp_path: Path) -> None:
        folder = write_files(tmp_path / "m", model_files() | {"config.json": b"[1"})
        assert refused(folder).message == f"{folder}/config.json: not a JSON object."

    def test_an_absent_shard_is_counted(self, tmp_path: Path) -> None:
        folder = write_files(tmp_path / "m", model_files(shards=3))
        (folder / "model-00002-of-00003.safetensors").unlink()
        error = refused(folder)
        shard = "model-00002-of-00003.safetensors"
        assert error.message == f"{folder}: shard 2 of 3 is missing ({shard})."

    def test_several_absent_shards_are_counted(self, tmp_path: Path) -> None:
        folder = write_files(tmp_path / "m", model_files(shards=3))
        for number in (1, 3):
            (folder / f"model-0000{number}-of-00003.safetensors").unlink()
        assert "2 of 3 shards are missing: model-00001" in refused(folder).message

    def test_shards_without_their_index_are_named(self, tmp_path: Path) -> None:
        folder = write_files(tmp_path / "m", model_files(shards=2))
        (folder / "model.safetensors.index.json").unlink()
        assert (
            "model.safetensors.index.json is missing, with 2 shards present"
            in refused(folder).message
        )

    def test_an_index_that_leads_out_of_the_folder_is_refused(self, tmp_path: Path) -> None:
        index = json.dumps({"weight_map": {"w": "../x.safetensors"}}).encode()
        files = {**model_files(shards=2), "model.safetensors.index.json": index}
        folder = write_files(tmp_path / "m", files)
        assert "outside its folder" in refused(folder).message

    def test_an_index_of_other_weights_is_found_out(self, tmp_path: Path) -> None:
        files = model_files(shards=2)
        index = json.loads(files["model.safetensors.index.json"])
        index["weight_map"]["layer.9.weight"] = "model-00001-of-00002.safetensors"
        files["model.safetensors.index.json"] = json.dumps(index).encode()
        folder = write_files(tmp_path / "m", files)
        assert "missing in the shards: 1 tensor" in refused(folder).message

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    def test_a_git_lfs_pointer_is_recognised(self, tmp_path: Path, name: str) -> None:
        folder = write_files(tmp_path / "m", model_files() | {name: LFS})
        error = refused(folder)
        assert f"{name} is a Git LFS pointer, not the file itself" in error.message
        assert "git lfs pull" in error.fix

    def test_pickle_weights_are_refused_with_the_reason(self, tmp_path: Path) -> None:
        files = model_files() | {"pytorch_model.bin": b"pickle"}
        del files["model.safetensors"]
        error = refused(write_files(tmp_path / "m", files))
        assert "pickle files (pytorch_model.bin), which can run code" in error.message
        assert "sandbox" in error.fix

    def test_no_weights_at_all_is_said(self, tmp_path: Path) -> None:
        files = model_files()
        del files["model.safetensors"]
        assert "there are no weights" in refused(write_files(tmp_path / "m", files)).message

    def test_a_truncated_file_is_measured(self, tmp_path: Path) -> None:
        folder = write_files(tmp_path / "m", model_files())
        file = folder / "model.safetensors"
        size = file.stat().st_size
        file.write_bytes(file.read_bytes()[:-100])
        assert f"requires {size} bytes, the file has {size - 100}" in refused(folder).message

    def test_an_unknown_architecture_is_named(self, tmp_path: Path) -> None:
        files = model_files() | {"config.json": b'{"model_type": "lama9"}'}
        error = refused(write_files(tmp_path / "m", files))
        assert "no language model for the architecture lama9" in error.message
        assert "pip install -U transformers" in error.fix

    def test_a_known_architecture_that_writes_no_text_is_refused(self, tmp_path: Path) -> None:
        files = model_files() | {"config.json": b'{"model_type": "clip"}'}
        assert (
            "no language model for the architecture clip"
            in refused(write_files(tmp_path / "m", files)).message
        )

    def test_a_config_without_an_architecture_is_said(self, tmp_path: Path) -> None:
        files = model_files() | {"config.json": b"{}"}
        assert (
            "config.json has no architecture (model_type"
            in refused(write_files(tmp_path / "m", files)).message
        )

    def test_a_missing_tokenizer_is_a_note(self, tmp_path: Path) -> None:
        files = {k: v for k, v in model_files().items() if not k.startswith("tokenizer")}
        found = resolve(str(write_files(tmp_path / "m", files)))
        assert found.notes == ("there is no tokenizer in the folder",)

    def test_a_mistyped_path_names_its_nearest_parent(self, tmp_path: Path) -> None:
        write_files(tmp_path / "models" / "qwen", model_files())
        error = refused(tmp_path / "modles" / "qwen")
        assert f"no such file or folder; {tmp_path} exists." in error.message
        assert "Did you mean models?" in error.fix

    def test_a_path_through_a_file_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("")
        assert "is a file, not a folder" in refused(tmp_path / "f" / "x").message

    def test_a_folder_of_models_lists_them(self, tmp_path: Path) -> None:
        write_files(tmp_path / "all" / "one", model_files())
        error = refused(tmp_path / "all")
        assert "a folder of models, not a model" in error.message
        assert str(tmp_path / "all" / "one") in error.fix

    def test_one_file_of_a_model_points_to_its_folder(self, tmp_path: Path) -> None:
        folder = write_files(tmp_path / "m", model_files())
        assert refused(folder / "model.safetensors").fix == f"Use its folder: {folder}"
        (tmp_path / "m.bin").write_bytes(b"pickle")
        assert "pickle file can run code" in refused(tmp_path / "m.bin").message
        (tmp_path / "m.txt").write_bytes(b"x")
        assert "not a model (expected" in refused(tmp_path / "m.txt").message

    @pytest.mark.parametrize("name", ["", "  ", "a\0b"])
    def test_an_empty_name_is_said(self, name: str) -> None:
        assert refused(name).message.startswith("model: the name")

    @pytest.mark.parametrize(
        "name", ["../../etc", "..", "owner/../x", "a--b/c", "C:\\x", "x" * 5000, "a/b@../../c"]
    )
    def test_odd_names_are_sentences(self, name: str) -> None:
        refused(name)


class TestHubCache:
    def test_a_hub_id_is_found_by_its_ref(self) -> None:
        folder = cached("org/base", model_files())
        found = resolve("org/base")
        assert (found.kind, found.path) == ("hub", folder / "snapshots" / COMMITS[0])
        assert found.why == "the hub cache, main = aaaaaaaa"

    def test_every_spelling_leads_to_the_same_snapshot(self) -> None:
        folder = cached("org/base", model_files())
        snapshot = folder / "snapshots" / COMMITS[0]
        kinds = {}
        for name in (
            "org/base",
            "org/base@main",
            f"org/base@{COMMITS[0]}",
            "org/base@aaaaaaa",
            "https://huggingface.co/org/base",
            "huggingface.co/org/base/tree/main",
            str(folder),
            str(folder / "snapshots"),
            str(snapshot),
        ):
            found = resolve(name)
            assert found.path == snapshot, name
            kinds[name] = found.kind
        assert list(kinds.values())[-3:] == ["hub_cache", "hub_cache", "snapshot"]

    def test_main_wins_over_a_newer_snapshot(self) -> None:
        folder = cached("org/base", model_files())
        cached("org/base", model_files(), COMMITS[1], ref="")
        assert resolve(str(folder)).path.name == COMMITS[0]

    def test_without_main_the_newest_whole_snapshot_is_taken(self) -> None:
        folder = cached("org/base", model_files(), ref="")
        cached("org/base", {"config.json": b"{}"}, COMMITS[1], ref="")
        found = resolve(str(folder))
        assert found.path.name == COMMITS[0]
        assert "the newest complete one of 2" in found.why

    def test_a_partial_snapshot_says_how_to_go_on(self) -> None:
        files = model_files(shards=3)
        del files["model-00002-of-00003.safetensors"]
        cached("org/base", files)
        error = refused("org/base")
        assert "shard 2 of 3 is missing" in error.message
        assert error.fix == "Download what is missing: tunery models pull org/base"
        assert error.fields["remedy"] == "pull"

    def test_a_repo_folder_without_a_snapshot_is_said(self) -> None:
        folder = hubcache.repo_dir("org/base")
        (folder / "snapshots").mkdir(parents=True)
        assert "without a snapshot" in refused(folder).message

    def test_an_id_that_is_not_here_offers_the_nearest_and_the_pull(self) -> None:
        cached("org/base", model_files())
        error = refused("org/bsae")
        assert "not downloaded" in error.message
        assert error.fix == "Did you mean org/base? Download it: tunery models pull org/bsae"

    def test_a_bare_word_offers_the_nearest_name(self) -> None:
        error = refused("deno")
        assert (
            error.message
            == "Model 'deno' not found: there is no model, run or folder with this name."
        )
        assert "Did you mean demo?" in error.fix

    def test_the_demo_model_says_how_to_get_it(self) -> None:
        assert refused("demo").fix == "Download it (93 MB): tunery models pull demo"

    def test_the_cache_follows_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
        cached("org/base", model_files())
        assert resolve("org/base").path.is_relative_to(tmp_path / "elsewhere")


class TestAdaptersAndRuns:
    def test_an_adapter_names_its_base(self, tmp_path: Path) -> None:
        cached("org/base", model_files())
        found = resolve(str(write_files(tmp_path / "a", adapter_files())))
        assert found.kind == "adapter"
        assert found.base is not None
        assert found.base.name == "org/base"
        assert found.model_folder == found.base.path
        assert found.context_length == 2048
        assert found.num_parameters == 8 * 16
        assert found.weights == "LORA safetensors"

    def test_an_adapter_without_its_base_says_which(self, tmp_path: Path) -> None:
        error = refused(write_files(tmp_path / "a", adapter_files()))
        assert "it was trained on org/base, which cannot be used here: org" in error.message
        assert error.fix == "Download it: tunery models pull org/base"

    def test_an_adapter_on_an_adapter_is_refused(self, tmp_path: Path) -> None:
        cached("org/base", model_files())
        below = write_files(tmp_path / "a", adapter_files())
        folder = write_files(tmp_path / "b", adapter_files(str(below)))
        assert "is itself an adapter" in refused(folder).message

    def test_an_adapter_that_names_itself_as_its_base_is_said(self, tmp_path: Path) -> None:
        folder = write_files(tmp_path / "a", adapter_files(str(tmp_path / "a")))
        error = refused(folder)
        assert error.message.endswith("names this adapter itself as its base model.")
        assert error.fix.endswith(f"tunery models base {folder} MODEL")
        cached("org/base", model_files())
        assert name_base(str(folder), "org/base").base is not None  # the advice works

    @pytest.mark.parametrize("asked", ["a", "b"])
    def test_adapters_whose_bases_form_a_loop_are_said(self, tmp_path: Path, asked: str) -> None:
        write_files(tmp_path / "a", adapter_files(str(tmp_path / "b")))
        write_files(tmp_path / "b", adapter_files(str(tmp_path / "a")))
        error = refused(tmp_path / asked)
        assert "form a loop" in error.message
        assert error.message.count(str(tmp_path / asked)) == 3  # where, and both ends

    def test_an_adapter_that_leads_into_a_loop_of_others_is_said(self, tmp_path: Path) -> None:
        write_files(tmp_path / "a", adapter_files(str(tmp_path / "b")))
        write_files(tmp_path / "b", adapter_files(str(tmp_path / "b")))
        assert "names this adapter itself" in refused(tmp_path / "a").message

    def test_an_adapter_that_names_nothing_is_said(self, tmp_path: Path) -> None:
        files = adapter_files() | {"adapter_config.json": b'{"peft_type": "LORA"}'}
        assert (
            "adapter_config.json does not state its base model"
            in refused(write_files(tmp_path / "a", files)).message
        )

    def test_a_pickled_adapter_is_refused(self, tmp_path: Path) -> None:
        files = adapter_files() | {"adapter_model.bin": b"pickle"}
        del files["adapter_model.safetensors"]
        error = refused(write_files(tmp_path / "a", files))
        assert "adapter_model.bin), which can run code" in error.message

    def test_a_run_gives_its_final_adapter(self, home: Path) -> None:
        cached("org/base", model_files())
        run = make_run(home)
        make_checkpoint(run, 10, adapter_files())
        write_files(run / "adapter", adapter_files())
        for name in ("r1", str(run)):
            found = resolve(name)
            assert (found.kind, found.path) == ("run", run / "adapter")
            assert found.base is not None

    def test_a_run_without_final_weights_gives_its_newest_checkpoint(self, home: Path) -> None:
        cached("org/base", model_files())
        run = make_run(home)
        for step in (10, 20):
            make_checkpoint(run, step, adapter_files())
        damaged = make_checkpoint(run, 30, adapter_files())
        (damaged / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
        found = resolve("r1")
        assert found.path == run / "checkpoints" / "step-00000020" / "adapter"
        assert "its newest checkpoint step-00000020" in found.why

    def test_a_checkpoint_is_named_by_step_or_path(self, home: Path) -> None:
        cached("org/base", model_files())
        run = make_run(home)
        folder = make_checkpoint(run, 100, adapter_files())
        for name in ("r1@step-00000100", "r1@100", str(folder)):
            found = resolve(name)
            assert (found.kind, found.path) == ("checkpoint", folder / "adapter")
        assert refused("r1@7").fix == "Available checkpoints: step-00000100."

    def test_a_run_that_trained_the_model_itself_has_no_base(self, home: Path) -> None:
        run = make_run(home)
        write_files(run / "model", model_files())
        found = resolve("r1")
        assert (found.path, found.base) == (run / "model", None)

    def test_a_run_without_weights_says_so(self, home: Path) -> None:
        make_run(home)
        assert "has no weights yet, neither final ones nor a checkpoint" in refused("r1").message

    def test_a_mistyped_run_offers_the_run(self, home: Path) -> None:
        make_run(home, "tuna-sft")
        assert "Did you mean tuna-sft?" in refused("tuna-sff").fix


class TestForgedFiles:
    def test_no_safetensors_mutant_is_accepted_or_crashes(self, tmp_path: Path) -> None:
        good = safetensors({"a.weight": (8, 8), "b.weight": (16,)})
        (length,) = struct.unpack("<Q", good[:8])
        folder = write_files(tmp_path / "m", model_files())
        file = folder / "model.safetensors"
        accepted = []
        for position in range(8 + length):
            data = bytearray(good)
            data[position] ^= 1 << (position % 8)
            file.write_bytes(data)
            try:
                resolve(str(folder))
            except ModelError:
                continue
            accepted.append(position)
        # a flip inside a name or a remark is still a whole file: the loader compares the names
        text = good[8 : 8 + length]
        spans = [(text.find(w), len(w)) for w in (b"a.weight", b"b.weight", b"__metadata__")]
        spans.append((text.find(b"format"), len(b'format": "pt')))
        spans.append((len(text.rstrip()), 8))  # padding
        for position in accepted:
            assert any(at <= position - 8 < at + width for at, width in spans), position

    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"[]",
            b'{"a": 1}',
            b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "F32", "shape": [4611686018427387904], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
            b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}',
            b"[" * 100_000,
        ],
    )
    def test_forged_headers_are_refused(self, tmp_path: Path, header: bytes) -> None:
        folder = write_files(tmp_path / "m", model_files())
        data = struct.pack("<Q", len(header)) + header + b"\0" * 4
        (folder / "model.safetensors").write_bytes(data)
        refused(folder)

    def test_a_header_length_beyond_the_file_is_refused(self, tmp_path: Path) -> None:
        folder = write_files(tmp_path / "m", model_files())
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}")
        assert "its header claims" in refused(folder).message


class TestCode:
    CONFIG = b'{"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}'

    def files(self) -> dict[str, bytes]:
        code = {"modeling.py": b"raise SystemExit", "config.json": self.CONFIG}
        return model_files() | code

    def test_code_is_refused_without_consent(self, tmp_path: Path) -> None:
        error = refused(write_files(tmp_path / "m", self.files()))
        assert "the model comes with its own code (1 file), which is not run" in error.message
        assert "tunery models allow-code" in error.fix

    def test_consent_is_for_exactly_these_files(self, tmp_path: Path) -> None:
        folder = write_files(tmp_path / "m", self.files())
        consent.allow(folder)
        assert resolve(str(folder)).architecture == "mine"
        (folder / "modeling.py").write_text("import os")
        refused(folder)
        assert consent.revoke(folder) == 1
        assert consent.entries() == []

    def test_consent_for_one_commit_is_not_for_another(self) -> None:
        first = cached("org/code", self.files()) / "snapshots" / COMMITS[0]
        code = consent.allow(first)
        assert (code.repo, code.revision) == ("org/code", COMMITS[0])
        resolve("org/code")
        cached("org/code", self.files(), COMMITS[1])
        refused("org/code")

    def test_code_in_another_repo_is_never_run(self, tmp_path: Path) -> None:
        config = b'{"model_type": "mine", "auto_map": {"AutoModel": "evil/repo--m.X"}}'
        folder = write_files(tmp_path / "m", self.files() | {"config.json": config})
        consent.allow(folder)
        assert "its code is in another repository (evil/repo--m.X)" in refused(folder).message

    def test_a_known_architecture_needs_no_consent(self, tmp_path: Path) -> None:
        config = b'{"model_type": "llama", "auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}'
        assert resolve(str(write_files(tmp_path / "m", self.files() | {"config.json": config})))


def test_the_hub_fixture_is_unused_by_a_light_resolve(hub: Hub) -> None:
    cached("org/base", model_files())
    resolve("org/base")
    assert hub.log == []
