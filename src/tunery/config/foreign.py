"""Names of our settings in other tools, to explain names that users bring along."""

from __future__ import annotations

from collections.abc import Callable

from tunery.config.base import tag
from tunery.config.methods import METHODS
from tunery.config.optimizers import OPTIMIZERS, OptimizerKind
from tunery.i18n import t


def _ours(name: str) -> Callable[[], str]:
    return lambda: t("Use {name} instead.", name=name)


def _set(*words: str) -> Callable[[], str]:
    return lambda: t("Set {settings}.", settings=" ".join(words))


def _own(kind: type[OptimizerKind]) -> str:
    return vars(kind).get("known_as", "")  # not those of the kind that it is made from


def _batch() -> str:
    return t(
        "Set train.batch_size: rows per optimizer step, over all devices; micro batch "
        "size and gradient accumulation follow from it."
    )


def _output() -> str:
    return t("Each run has its own folder under TUNERY_HOME/runs; set its name with --name.")


def _precision() -> str:
    return t("Set model.dtype: auto, fp32 or bf16.")


def _new_adapter() -> str:
    return t(
        "A run continues the adapter that model.name names. For a new one on top: tunery export "
        "ADAPTER --to merged FOLDER, then use FOLDER as model.name."
    )


def _converted() -> str:
    return t("The result is always a plain LoRA adapter of the original model; remove it.")


def _trains() -> str:
    return t("`tunery train` always trains; remove it.")


def _quantization() -> str:
    return t(
        "Set quantization.type: nf4 or fp4 for 4 bits per weight, int8 for 8. QLoRA is nf4 with "
        "an adapter."
    )


def _four_bit_integers() -> str:
    return t(
        "4-bit integers cannot be trained on here: torchao's do not run on a CPU, and GPTQ and AWQ "
        "need a calibrated checkpoint. Use nf4 for 4 bits per weight."
    )


def _online() -> str:
    return t(
        "Training on the model's own answers (online reinforcement learning) is not supported "
        "yet. Methods: {names}.",
        names=", ".join(map(tag, METHODS)),
    )


def _logs() -> str:
    return t("Every step is logged and plotted; remove it.")


def _trackers() -> str:
    return t("Each tracker is enabled by its own section: tunery config help track")


def _parallel() -> str:
    return t("Rows are always tokenized on all cores; remove it.")


_OPTIMIZERS: dict[str, Callable[[], str]] = {
    theirs: _set(f"optim.type={tag(kind)}", *filter(None, [more]))
    for kind in OPTIMIZERS
    for theirs, _, more in (name.partition(":") for name in _own(kind).split())
}

FOREIGN: dict[str, Callable[[], str]] = {
    **_OPTIMIZERS,  # some are switches of their own, such as use_muon
    **{
        theirs: _ours(ours)
        for ours, names in {
            "model.name": "model_name_or_path model_name base_model model_id pretrained_model",
            "data.train": "dataset datasets train_file dataset_name train_dataset data_path",
            "data.catalog": "dataset_dir",
            "data.max_length": "cutoff_len max_seq_length max_seq_len sequence_len block_size "
            "model_max_length max_tokens",
            "data.max_samples": "max_train_samples num_samples",
            "data.loss_on": "train_on_prompt mask_history train_on_inputs completion_only_loss",
            "data.packing": "sample_packing neat_packing pack_sequences",
            "method.type": "stage task training_type",
            "method.neftune_alpha": "neftune_noise_alpha",
            "method.label_smoothing": "label_smoothing_factor",
            "method.eaft_alpha": "eaft_alpha",
            "method.eaft_top_k": "eaft_k",
            "method.asft_alpha": "asft_alpha",
            "adapter.type": "finetuning_type peft_type use_lora use_peft",
            "adapter.rank": "lora_rank lora_r r vera_r",
            "adapter.alpha": "lora_alpha",
            "adapter.dropout": "lora_dropout vera_dropout",
            "adapter.target_modules": "lora_target lora_target_modules lora_modules oft_target",
            "adapter.num_layers": "freeze_trainable_layers",
            "adapter.use_rslora": "rslora rs_lora peft_use_rslora",
            "adapter.use_dora": "dora peft_use_dora",
            "adapter.init": "init_lora_weights peft_init_lora_weights pissa_init",
            "adapter.pissa_niter": "pissa_iter",
            "adapter.lora_plus_ratio": "loraplus_lr_ratio lora_plus lora_plus_lr_ratio",
            "adapter.modules_to_save": "additional_target modules_to_save lora_modules_to_save",
            "adapter.layers_to_transform": "peft_layers_to_transform lora_layers_to_transform",
            "adapter.exclude_modules": "lora_exclude_modules",
            "adapter.target_parameters": "lora_target_parameters",
            "adapter.block_size": "oft_block_size peft_oft_block_size",
            "adapter.initial_scale": "d_initial vera_d_initial",
            "adapter.projection_seed": "projection_prng_key vera_projection_prng_key",
            "adapter.coft_eps": "oft_eps",
            "adapter.extra_modules": "freeze_extra_modules",
            "optim.type": "optimizer optimizer_type",
            "quantization.double_quantization": "bnb_4bit_use_double_quant use_bnb_nested_quant "
            "double_quantization",
            "quantization.compute_dtype": "bnb_4bit_compute_dtype",
            "quantization.skip_modules": "llm_int8_skip_modules",
            "quantization.outlier_threshold": "llm_int8_threshold",
            "optim.learning_rate": "lr",
            "optim.groups": "lr_groups optim_param_groups param_groups",
            "optim.embedding_learning_rate": "embedding_lr loraplus_lr_embedding",
            "optim.projection_rank": "galore_rank apollo_rank",
            "optim.update_interval": "galore_update_interval apollo_update_interval "
            "update_proj_gap",
            "optim.scale": "galore_scale apollo_scale",
            "optim.scale_per": "apollo_scale_type",
            "optim.switch_interval": "badam_switch_interval switch_block_every",
            "optim.switch_order": "badam_switch_mode",
            "optim.schedule": "lr_scheduler_type lr_scheduler scheduler",
            "optim.warmup_steps": "num_warmup_steps",
            "optim.warmup_ratio": "warmup",
            "optim.max_grad_norm": "gradient_clipping grad_clip clip_grad",
            "optim.betas": "adam_beta1 adam_beta2 beta1 beta2",
            "optim.epsilon": "adam_epsilon eps adam_eps",
            "train.num_epochs": "num_train_epochs epochs n_epochs",
            "train.max_steps": "total_steps num_steps",
            "train.seed": "data_seed random_seed",
            "train.gradient_checkpointing": "use_gradient_checkpointing activation_checkpointing "
            "disable_gradient_checkpointing",
            "evaluate.split": "val_size val_set_size validation_split test_size",
            "evaluate.datasets": "eval_dataset val_dataset",
            "evaluate.every": "eval_steps eval_strategy evaluation_strategy",
            "evaluate.patience": "early_stopping_patience early_stopping_steps",
            "checkpoint.every": "save_steps save_strategy",
            "checkpoint.keep": "save_total_limit",
        }.items()
        for theirs in names.split()
    },
    **dict.fromkeys(
        [
            "per_device_train_batch_size",
            "micro_batch_size",
            "gradient_accumulation_steps",
            "per_device_batch_size",
            "train_batch_size",
        ],
        _batch,
    ),
    **dict.fromkeys(["output_dir", "logging_dir", "run_name", "overwrite_output_dir"], _output),
    **dict.fromkeys(
        ["bf16", "fp16", "pure_bf16", "torch_dtype", "precision", "compute_dtype"], _precision
    ),
    "create_new_adapter": _new_adapter,
    "pissa_convert": _converted,
    **dict.fromkeys(
        [
            "quantization_bit",
            "quantization_method",
            "quantization_type",
            "load_in_4bit",
            "load_in_8bit",
            "bnb_4bit_quant_type",
            "quant_type",
        ],
        _quantization,
    ),
    **{
        name: _set(f"method.loss={loss}")
        for loss, names in {
            "dft": "use_dft_loss enable_dft_loss",
            "eaft": "use_eaft_loss use_eaft",
            "asft": "use_asft_loss",
        }.items()
        for name in names.split()
    },
    "do_train": _trains,
    "logging_steps": _logs,
    "plot_loss": _logs,
    "report_to": _trackers,
    "preprocessing_num_workers": _parallel,
}

_ONLINE = "grpo dr_grpo dapo gspo cispo sapo ppo rloo reinforce reinforce++ online_dpo xpo nash_md"

FOREIGN_VALUES: dict[tuple[str, str], Callable[[], str]] = {
    **{("optim.type", name.lower()): fix for name, fix in _OPTIMIZERS.items()},
    **{("method.type", name): _online for name in _ONLINE.split()},
    ("adapter.type", "qlora"): _quantization,
    **{
        ("quantization.type", name): _four_bit_integers
        for name in ("int4", "int4_weight_only", "gptq", "awq")
    },
}
"""Values of our settings in other tools, in lower case."""
