"""Build a job from a frozen config: data, tokens, base model, replay rows and the drift check.

Every phase is reported in events and can be interrupted by a stop. An interrupted build keeps
nothing, because all of it can be recomputed.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunery import env
from tunery.adapters.base import Adapter
from tunery.chat.template import ChatTemplate
from tunery.config.config import Config
from tunery.config.data import DataConfig
from tunery.data import examples, statistics
from tunery.data.groups import TokenRow
from tunery.data.kinds import row_kind
from tunery.data.rows import Rows
from tunery.data.token_rows import TokenStore
from tunery.data.tokenize import tokenize_all, tokenizer_hash
from tunery.i18n import t
from tunery.models import bases, beside, files, heads, load, vocabulary
from tunery.models.computes import load_computing
from tunery.models.quantized import Quantizer
from tunery.models.resolve import Resolved, resolve
from tunery.policy.shortcuts import check_runs
from tunery.runs.context import RunContext
from tunery.train.assemble import Base, assemble
from tunery.train.data import RunData
from tunery.train.loop import Job
from tunery.train.measure import replay, samples
from tunery.train.measure.evaluate import probe_rows
from tunery.train.measure.known import Known
from tunery.train.memory import threads
from tunery.train.state import drift
from tunery.train.state.checkpoint import newest
from tunery.types import Conversation


def build(context: RunContext) -> Job:
    """Build the job, new or from the newest valid checkpoint.

    Raises:
        TuneryError: The data, the model or the settings are invalid, or the resume is refused.
        Stopped: A stop was requested.
    """
    config = context.config
    base = resolve(config.model.name)
    dtype = load.pick_dtype(config.model.dtype, context.device)
    found = newest(context.folder.checkpoints_dir)
    threads(found.state().num_threads if found else config.train.num_threads)
    data = read_data(context, base)
    template = data.template
    assert template is not None
    recorded = found.manifest.get("facts", {}).get("dtype") if found else None
    model: Any = None
    if dtype == torch.bfloat16 and config.model.dtype == "auto" and recorded == "float32":
        model, dtype = _load(context, base)  # may fall back to float32, as at the run's start
    facts = _facts(context, data, template, base, dtype)
    allowed: list[str] = []
    if found is not None:
        now = drift.recorded(config, data.hash, facts)
        allowed = drift.check(context.folder.name, found.manifest, now, allowed=context.allow_drift)
    bases.record(context.folder.path, base.model_folder)
    if model is None:
        model, dtype = _load(context, base)
        facts = _facts(context, data, template, base, dtype)
    if config.method.produces == "scores":
        heads.take_pad(model, data.tokenizer)
    known = Known({**facts, "produces": config.method.produces})
    replayed, data.probe = _general(context, data, template, model, known)
    if replayed:
        data.rows = data.rows.and_then(replay.as_rows(replayed))
    start = Base(model, _base_name(base), base.path if base.base else None, facts, known)
    return assemble(context, data, start, found=found, allowed_drift=allowed)


def check_modules(config: Config, base: Resolved) -> list[str]:
    """Reject module names that the model does not have, before any weight is read.

    Returns:
        Messages about weights that are not quantized.

    Raises:
        ConfigError: A named module does not exist.
    """
    if config.adapter.names_modules:
        adapter: Adapter = config.adapter.make()
        skeleton = load.skeleton(base.model_folder, produces=config.method.produces)
        adapter.attach(skeleton, adapter=None, base_name="")
    if not config.quantization.quantizes:
        return []
    quantizer: Quantizer = config.quantization.make()
    return quantizer.remarks(load.skeleton(base.model_folder, produces=config.method.produces))


def _load(context: RunContext, base: Resolved) -> tuple[Any, torch.dtype]:
    """Load the base model; if ``model.dtype`` is auto, in a dtype that works for it.

    Raises:
        ModelError: It cannot be loaded, or does not work in fp32 either.
    """
    with context.phase("model"):
        config = context.config
        for remark in check_modules(config, base):
            context.warn("quantization", remark)
        model, dtype, why = load_computing(
            base.model_folder,
            dtype=config.model.dtype,
            device=context.device,
            quantizer=config.quantization.make(),
            produces=config.method.produces,
        )
        if why:
            check_runs(model)
        if config.method.produces == "scores" and heads.produced_by(base.model_folder) == "text":
            heads.draw_head(model, seed=config.train.seed)
    if why:
        context.warn(
            "dtype",
            t("This model cannot be computed in bfloat16, so it is trained in float32, which "
              "takes twice the memory ({why})", why=why),
        )  # fmt: skip
    return model, dtype


def read_data(context: RunContext, base: Resolved) -> RunData:
    """Read and check the data, render it, and split it into training and held-out rows.

    Raises:
        DataError: Rows cannot be used, or none are left.
        Stopped: A stop was requested.
    """
    config = context.config
    with context.phase("data"):
        read = examples.read(
            config.data.train, config.data, wanted=config.method.rows,
            quarantine=context.folder.quarantine_file,
        )  # fmt: skip
        for problem in read.warnings:
            context.warn(problem.code, problem.words, problem.count)
        general = _general_examples(config)
    with context.phase("tokenize"):
        tokenizer = load.load_tokenizer(_tokenizer_folder(base))
        template = ChatTemplate.load(
            tokenizer, config.model.template, now=_created(context.meta), model=base.model_folder
        )
        if config.model.template is not None:
            tokenizer.chat_template = template.source  # saved with the result
        for notice in template.notices:
            context.warn("template", notice)
        tokens = tokenize_all(
            read, template, tokenizer, config.data,
            cache=env.cache_dir() / "tokens", progress=context.progress("tokenize"),
            processes=env.cores(),
        )  # fmt: skip
        for note, count in tokens.notes.items():
            context.warn("render", note, count)
        _check_ids(tokens, tokenizer, base)
        lost = statistics.too_long(tokens, config.data.max_length, positions=base.context_length)
        if lost:
            context.warn("too-long", lost)
        if config.evaluate.datasets:
            numbers = np.arange(len(tokens))
            held, asked = _evaluation_rows(context, template, tokenizer)
        else:
            train, kept = examples.split(read, config.evaluate.split, config.train.seed)
            numbers = _groups_of(tokens, train)
            held = _numbered(tokens, _groups_of(tokens, kept), read)
            asked = samples.choose(read, sorted(kept), config, template)
    examples.check_kept(
        config.method.rows, read, (tokens.source(int(number)) for number in numbers)
    )
    filtered = {**read.ledger.filtered, **tokens.filtered}
    used = read.ledger.used - sum(tokens.filtered.values())
    context.events.write(
        "rows",
        read=read.ledger.read,
        used=used,
        quarantined=read.ledger.quarantined,
        filtered=filtered,
        repeated=_distinct_sources(tokens) - used if read.ledger.repeated else 0,
        train=len(numbers),
        held_out=len(held),
        truncated=tokens.truncated,
    )
    return RunData(
        rows=_numbered(tokens, numbers, read),
        held_out=held,
        general=general,
        template=template,
        tokenizer=tokenizer,
        hash=read.hash,
        samples=asked,
    )


def _distinct_sources(tokens: TokenStore) -> int:
    """How many examples have tokens; a row that comes again is another example."""
    return len({tokens.source(number) for number in range(len(tokens))})


def _check_ids(tokens: TokenStore, tokenizer: Any, base: Resolved) -> None:
    """Reject rows that contain a token without an embedding in the model.

    Raises:
        ModelError: The largest token id in the rows exceeds the embedding.
    """
    if base.base is not None and _tokenizer_folder(base) == base.path:
        return  # the adapter added tokens and may come with their embedding rows
    size = vocabulary.vocab_size(files.read_json(base.model_folder / files.CONFIG))
    if size is not None and tokens.max_id >= size:
        spelling = str(tokenizer.convert_ids_to_tokens(tokens.max_id))
        raise vocabulary.reaches_beyond(
            base.model_folder, tokens.max_id, spelling, size, wanted=tokens.max_id + 1
        )


def _numbered(tokens: TokenStore, numbers: np.ndarray, read: examples.ExampleSet) -> Rows:
    def origin(group: int) -> dict[str, Any]:
        ref = read.ref(tokens.source(int(numbers[group])))
        return {"dataset": ref.dataset, "file": ref.file, "record": ref.record, "line": ref.line}

    def question(group: int) -> tuple[str, str] | None:
        example = read[tokens.source(int(numbers[group]))]
        asked = row_kind(example).question(example)
        if asked is None:
            return None
        said = (each.content for each in reversed(asked[0]) if each.role == "user")
        return next(said, ""), asked[1]

    return Rows(
        lambda group: tokens.group(int(numbers[group])),
        tokens.lengths[numbers],
        np.asarray(tokens.trained)[numbers],
        origin,
        question=question,
    )


def _groups_of(tokens: TokenStore, members: Collection[int]) -> np.ndarray:
    """Indices of the groups made from the given examples, ascending."""
    wanted = set(members)
    groups = [i for i in range(len(tokens)) if tokens.source(i) in wanted]
    return np.array(groups, dtype=np.int64)


def _evaluation_rows(
    context: RunContext, template: ChatTemplate, tokenizer: Any
) -> tuple[Rows, list[Conversation]]:
    config = context.config
    read = examples.read(
        config.evaluate.datasets, config.data, purpose="evaluate", wanted=config.method.rows
    )
    for problem in read.warnings:
        context.warn(problem.code, problem.words, problem.count)
    cache = env.cache_dir() / "tokens"
    tokens = tokenize_all(
        read, template, tokenizer, config.data, cache=cache, processes=env.cores()
    )
    asked = samples.choose(read, range(len(read)), config, template)
    return _numbered(tokens, np.arange(len(tokens)), read), asked


def _general_examples(config: Config) -> list[Conversation]:
    """The general set shared by replay and the forgetting score; ignores the user's columns."""
    replayed = config.data.replay.num_prompts > 0
    if not (replayed or _measures_forgetting(config)):
        return []
    own = DataConfig(catalog=config.data.catalog)
    read = examples.read([config.data.replay.prompts], own, purpose="replay")
    return [asked for each in read for asked in row_kind(each).conversations(each)[:1]]


def _measures_forgetting(config: Config) -> bool:
    writes = config.method.produces == "text"
    return writes and config.evaluate.forgetting and config.evaluate.every != "never"


def _general(
    context: RunContext, data: RunData, template: ChatTemplate, model: Any, known: Known
) -> tuple[list[TokenRow], list[TokenRow]]:
    """Replay rows, answered by the unmodified base, and probe rows for the forgetting score."""
    config = context.config
    chosen, rest = replay.choose(data.general, config.data.replay, seed=config.train.seed)
    rows: list[TokenRow] = []
    if chosen:
        with context.phase("replay"):
            rows = replay.make(
                model, template, chosen, config.data.replay,
                file=context.folder.replay_file, progress=context.progress("replay"),
                should_stop=context.stop.stop, known=known,
            )  # fmt: skip
        context.stop.check()
    if not _measures_forgetting(config):
        return rows, []
    return rows, probe_rows(rest, template, max_length=config.data.max_length)


def _facts(
    context: RunContext, data: RunData, template: ChatTemplate, base: Resolved, dtype: torch.dtype
) -> dict[str, Any]:
    quantization = context.config.quantization
    return {
        "template_hash": template.hash,
        "tokenizer_hash": tokenizer_hash(data.tokenizer),
        "model_hash": bases.fingerprint(base.model_folder),
        "revision": base.revision,
        "dtype": str(dtype).removeprefix("torch."),
        "device": context.device.partition(":")[0],
        "processor": drift.processor(context.device),
        "world_size": 1,
        **({"quantization": quantization.facts()} if quantization.quantizes else {}),
        **({"models": others} if (others := _others(context.config)) else {}),
    }


def _others(config: Config) -> dict[str, str]:
    """The fingerprints of the further models that the method reads, by setting."""
    named = config.method.other_models()
    return {path: beside.fingerprint(resolve(name)) for path, name in named.items()}


def _tokenizer_folder(base: Resolved) -> Path:
    own = (base.path / "tokenizer.json").is_file()
    return base.path if own else base.model_folder


def _base_name(base: Resolved) -> str:
    plain = base.base or base
    return plain.name if plain.kind in ("hub", "hub_cache") else str(plain.path)


def _created(meta: dict[str, Any]) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(str(meta["created"]))
    except (KeyError, ValueError):
        return None
