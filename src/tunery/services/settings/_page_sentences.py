"""Sentences that name a command, and what the page says instead.

A terminal names commands, flags and variables of the environment; the page has buttons and fields
for the same. ``for_the_page`` looks a sentence up here before it renames settings. A sentence of
those that the page can show which names a command and is not here fails ``test_page_words.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

from tunery.i18n import Phrase, say

INSTEAD: Mapping[str, Phrase] = {
    "Choose them from the list: tunery runs list": say("Select them in the list of runs."),
    "To let that page use /v1 with a key, start the server with: --cors-origin {origin}": say(
        "To let that page use /v1 with a key, whoever starts the server must allow {origin}."
    ),
    "All settings: tunery config help. Settings of this request: tunery config show.": say(
        "All settings are listed on the Train page, under More settings."
    ),
    "Set one of them, such as {name}: tunery config help {path}": say(
        "Set one of them, such as {name}."
    ),
    "All settings: tunery config help": say(
        "All settings are listed on the Train page, under More settings."
    ),
    (
        "Use the merged model (tunery export ADAPTER --to merged FOLDER), or set {setting} to "
        "cross_entropy."
    ): say(
        "Export the adapter as a merged model first and choose that as the model, or set {setting} "
        "to cross_entropy."
    ),
    (
        "A run continues the adapter that model.name names. For a new one on top: tunery export "
        "ADAPTER --to merged FOLDER, then use FOLDER as model.name."
    ): say(
        "A run continues the adapter that is chosen as its model. For a new one on top, export it "
        "as a merged model and choose that."
    ),
    "`tunery train` always trains; remove it.": say("A run always trains; remove this setting."),
    "To see the codes for your data: tunery data check NAME": say(
        "To see the codes for your data, open the dataset's Checks."
    ),
    "Choose a dataset or a file: --data.train identity (list: tunery data list).": say(
        "Choose a dataset under Datasets."
    ),
    "Choose a dataset: tunery data list": say(
        "Choose a dataset from the list on the Datasets page."
    ),
    "Restore the file, or: tunery data remove {name}": say(
        "Restore the file, or remove {name} on the Datasets page."
    ),
    "If that is meant: tunery data remove {name}, then add it again.": say(
        "If that is meant, remove {name} on the Datasets page and add it again."
    ),
    "Choose a dataset that has rows: tunery data list": say(
        "Choose a dataset that has rows from the list on the Datasets page."
    ),
    "Try again when online, or set HF_ENDPOINT to a mirror you can reach.": say(
        "Try again when online, or choose a mirror in Settings, under Sources and tokens."
    ),
    "Request access at {endpoint}/datasets/{origin}, then set HF_TOKEN.": say(
        "Request access at {endpoint}/datasets/{origin}, then enter a token in Settings, "
        "under Sources and tokens."
    ),
    "Check the name; for a private dataset, set HF_TOKEN.": say(
        "Check the name; for a private dataset, enter a token in Settings, under Sources "
        "and tokens."
    ),
    "Set the base model it was trained on: tunery models base {name} MODEL": say(
        "Set the base model it was trained on."
    ),
    "Restore the weights, or set the model to use: tunery models base {name} MODEL": say(
        "Restore the weights, or set the base model to use."
    ),
    "Set it: tunery models base {name} MODEL": say("Set its base model."),
    "If the base model is elsewhere, set its location: tunery models base {name} MODEL": say(
        "If the base model is elsewhere, set its location."
    ),
    ("Review the code, then allow exactly this version: tunery models allow-code {folder}"): say(
        "Review the code on the model's page, then allow exactly this version."
    ),
    "Check the network, then run again: tunery models pull demo": say(
        "Check the network, then try again."
    ),
    "Try again later, or use another source: MODELSCOPE_ENDPOINT, or --source hf.": say(
        "Try again later, or choose another source under Download from."
    ),
    "Try again later, or use another source: HF_ENDPOINT, or --source modelscope.": say(
        "Try again later, or choose another source under Download from."
    ),
    (
        "Check the network or set MODELSCOPE_ENDPOINT to a reachable address, then run "
        "again; or use --source hf."
    ): say("Check the network or choose another source under Download from, then try again."),
    "Check the network or choose a mirror with HF_ENDPOINT, then run again.": say(
        "Check the network or choose another source under Download from, then try again."
    ),
    "Run git lfs pull in that folder, or: tunery models pull OWNER/NAME": say(
        "Download the model by its hub name instead."
    ),
    "Provide a token: hf auth login, or HF_TOKEN.": say(
        "Enter a token in Settings, under Sources and tokens."
    ),
    "HF_ENDPOINT: {value!r} is not a URL.": say("The hub's address {value!r} is not a URL."),
    "Then run again; the token must belong to that account.": say(
        "Then try again; the token must belong to that account."
    ),
    "It may be expired or mistyped: hf auth login, or set HF_TOKEN again.": say(
        "It may be expired or mistyped: enter it again in Settings, under Sources and tokens."
    ),
    "Set MODELSCOPE_API_TOKEN to a token of your account.": say(
        "Enter a token of your account in Settings, under Sources and tokens."
    ),
    "Try again later, or --source hf.": say(
        "Try again later, or choose another source under Download from."
    ),
    "Use a run (tunery runs list) or a folder with adapter_config.json.": say(
        "Choose a run, or a folder with adapter_config.json."
    ),
    "Download it (93 MB): tunery models pull demo": say("Download it on the Models page (93 MB)."),
    "Download it: {command}": say("Download it on the Models page."),
    "Download what is missing: {command}": say("Press Resume download to fetch what is missing."),
    ("Set {settings}, or pass: {flags} (to train on them as they are: --data.accept W706)"): say(
        "Fill them in; to train on them as they are, set data.accept=W706."
    ),
    "Watch it: tunery runs follow {run}, or stop it: tunery runs stop {run}": say(
        "Watch or stop it on the page of run {run}."
    ),
    ("Put it in an environment variable (such as HF_TOKEN) and remove it from the settings."): say(
        "Enter it in Settings, under Sources and tokens, and remove it from these settings."
    ),
    (
        "Secrets belong in environment variables (such as HF_TOKEN), never in settings: "
        "they would be saved in the run folder."
    ): say(
        "Secrets belong in Settings, under Sources and tokens, never in the settings of a "
        "run: they would be saved in the run folder."
    ),
    "Import it once: tunery models pull {path}": say("Import it once on the Models page."),
    "See its progress: tunery runs show {run}": say("See its progress on the page of run {run}."),
    "Merge that adapter first: tunery export {base} --to merged FOLDER": say(
        "Merge that adapter first, on the Export page."
    ),
    "Merge it into a model first: tunery export {folder} --to merged NEW-MODEL": say(
        "Export it as a merged model first, and use that."
    ),
    (
        "Adapters of one kind can be loaded together. Merge this one into a model: "
        "tunery export {folder} --to merged NEW-MODEL"
    ): say(
        "Adapters of one kind can be loaded together. Export this one as a merged model, and use "
        "that."
    ),
    ("Merge both into one model and use that: tunery export {folder} --to merged NEW-MODEL"): say(
        "Merge both into one model on the Export page, and use that."
    ),
    "Undo the change, or accept it: tunery runs resume {run} {flags}": say(
        "Undo the change, or start a new run from this one."
    ),
    (
        "Choose another name, resume it: tunery runs resume {name}, or delete it: tunery "
        "runs delete {name}"
    ): say("Choose another name, or resume or delete that run on its page."),
    "List them with: tunery runs list": say("They are listed on the Runs page."),
    "Resume it: tunery runs resume {run}": say(
        "It can be resumed from the last checkpoint, or started over."
    ),
    "Stop it first: tunery runs stop {run}": say("Stop it first."),
    "--greedy cannot be combined with --{name}: greedy answers are not sampled.": say(
        "Greedy answers are not sampled, so {name} cannot be set."
    ),
    "--against base: {name} is a base model itself.": say("{name} is a base model itself."),
    "Use another model or run: --against NAME": say("Choose another model or run to compare with."),
    "A run does this when it starts. To do it now: tunery data preview {name} --stats": say(
        "A run does this when it starts."
    ),
    "Choose another name, or first: tunery data remove {name}": say(
        "Choose another name, or remove {name} first."
    ),
    "--part {part}: both sides of a pair are one training row.": say(
        "Part {part}: both sides of a pair are one training row."
    ),
    "--part {part}: this row becomes {count} training rows.": say(
        "Part {part}: this row becomes {count} training rows."
    ),
    "Remove --part.": say("Show the row without choosing a part."),
    "{name}: --row {row}: rows are numbered from 1.": say(
        "{name}: row {row}: rows are numbered from 1."
    ),
    "See what is wrong with: {command}": say("See the dataset's Checks for what is wrong."),
    "Use a run, RUN@step-00000100, or an adapter folder: tunery runs list": say(
        "Choose a run, one of its checkpoints, or an adapter folder."
    ),
    "To use a mirror: export HF_ENDPOINT={mirror}": say(
        "To use a mirror such as {mirror}, save it in Settings, under Sources and tokens."
    ),
    "Check HF_ENDPOINT, or unset it.": say(
        "Check the hub's address in Settings, under Sources and tokens."
    ),
    "See what is available: tunery models list": say("The Models page lists what is available."),
    "Delete it with: tunery runs delete {name}": say("Delete it on the Runs page."),
    "Continue training from its result: tunery train {config} --model.name {run}": say(
        "Continue training from its result: train with {run} as the base model."
    ),
    (
        "The memory estimate is rough because config.json lacks {names}; --measure runs a "
        "few steps and measures."
    ): say(
        "The memory estimate is rough because config.json lacks {names}; press Measure to "
        "run a few steps."
    ),
    "The system ends a process that takes too much memory: try without --measure.": say(
        "The system ends a process that takes too much memory: plan without measuring."
    ),
    "--allow-drift {name}: no such field.": say("Allowed difference {name}: no such field."),
    (
        "The process that feeds {tracker} died, which does not affect the run; points may "
        "be missing there (log: {log}). Restart it: tunery runs track {run}"
    ): say(
        "The process that feeds {tracker} died, which does not affect the run; points may "
        "be missing there (log: {log})."
    ),
    (
        "{tracker} failed, which does not affect the run: {error} (log: {log}). Restart "
        "it: tunery runs track {run}"
    ): say("{tracker} failed, which does not affect the run: {error} (log: {log})."),
    "Trackers are set before a run starts: tunery config help track": say(
        "Trackers are set before a run starts, on the Train page."
    ),
    "Each tracker is enabled by its own section: tunery config help track": say(
        "Each tracker is enabled in its own section, under More settings."
    ),
    "Presets: {names}. Runs: tunery runs list": say(
        "Presets: {names}. The Runs page lists the runs."
    ),
    "The last checkpoint is intact: tunery runs resume {run}": say(
        "The last checkpoint is intact: the run can be resumed."
    ),
    "Run it in a terminal, where there is no time limit: tunery plan": say(
        "Press Measure, which has no time limit."
    ),
}
"""The page's sentence for a terminal's sentence, both in English, places not filled in."""
