"""What fields are called in other trainers, so that a wrong name in a config is answered with the right one.

The names are those of Hugging Face's TrainingArguments, PEFT's LoraConfig, TRL, LLaMA-Factory, ms-swift and the script
of Qwen-VL itself.
"""

from __future__ import annotations

_MEANT: dict[str, str] = {
    "training.learning_rate": "lr base_lr llm_lr learning_rates max_lr",
    "training.vit_lr": "vision_lr vision_tower_lr vit_learning_rate",
    "training.aligner_lr": "mm_projector_lr projector_lr merger_lr aligner_learning_rate",
    "training.effective_batch_size (rows per step over all devices)": (
        "gradient_accumulation_steps grad_accum gradient_accumulation accumulation_steps train_batch_size "
        "global_batch_size batch_size total_batch_size"
    ),
    "training.per_device_batch_size": "per_device_train_batch_size micro_batch_size",
    "training.num_epochs": "epochs num_train_epochs max_epochs n_epochs",
    "training.max_steps": "steps num_steps total_steps max_train_steps train_iters",
    "training.lr_schedule": "lr_scheduler_type lr_scheduler scheduler lr_decay_style",
    "training.warmup_steps": "warmup num_warmup_steps lr_warmup_steps",
    "training.warmup_ratio": "warmup_fraction lr_warmup_fraction",
    "training.lr_schedule_params": "lr_scheduler_kwargs scheduler_specific_kwargs",
    "training.min_lr": "lr_end min_learning_rate end_learning_rate",
    "training.min_lr_ratio": "min_lr_rate cosine_min_lr_ratio",
    "training.label_smoothing": "label_smoothing_factor label_smoothing_eps",
    "training.optimizer (adamw or adamw8bit)": "optim optimizer_type optimizer_name use_8bit_adam",
    "training.weight_decay": "wd",
    "training.adam_betas": "adam_beta1 adam_beta2 betas",
    "training.adam_eps": "adam_epsilon eps",
    "training.max_grad_norm": "gradient_clipping clip_grad gradient_clip_val max_gradient_norm grad_clip",
    "training.activation_checkpointing": "gradient_checkpointing enable_gradient_checkpointing recompute_granularity",
    "training.parallel (ddp or fsdp)": "deepspeed fsdp fsdp_config sharding_strategy distributed_type strategy",
    "training.fsdp_reshard": "reshard_after_forward fsdp_reshard_after_forward",
    "training.log_steps": "logging_steps log_interval log_every_n_steps",
    "training.eval_steps": "evaluation_steps eval_interval val_check_interval",
    "training.save_steps": "checkpointing_steps save_interval save_every",
    "training.save_total_limit": "max_checkpoints keep_last",
    "training.best_metric": "metric_for_best_model monitor",
    "training.best_mode (min or max)": "greater_is_better",
    "training.resume": "resume_from_checkpoint resume_from",
    "training.trackers": "report_to logging_dir tensorboard log_with use_wandb loggers",
    "training.output_dir": "out output save_dir output_path",
    "seed": "random_seed data_seed",
    "model.name_or_path": "model_name_or_path model_id model_path base_model pretrained",
    "model.init_adapter": "adapter_name_or_path adapters lora_checkpoint lora_weights",
    "model.dtype": "torch_dtype precision bf16 fp16 mixed_precision compute_dtype",
    "model.quantization (none or nf4)": (
        "load_in_4bit quantization_bit quant_bits quant_method quantization_method quantization_config "
        "bnb_4bit_quant_type qlora"
    ),
    "model.attention": "attn_implementation attn_impl flash_attn use_flash_attention_2 attention_implementation",
    "model.freeze_vit": "freeze_vision_tower freeze_vision tune_mm_vision",
    "model.freeze_aligner": "freeze_multi_modal_projector freeze_merger tune_mm_mlp",
    "model.freeze_llm": "freeze_language_model tune_mm_llm",
    "model.adapter.type": "finetuning_type tuner_type train_type use_lora peft_type",
    "model.adapter.rank": "lora_r r lora_rank",
    "model.adapter.alpha": "lora_alpha",
    "model.adapter.dropout": "lora_dropout",
    "model.adapter.target_modules": "lora_target lora_target_modules",
    "model.adapter.modules_to_save": "additional_target",
    "model.adapter.type=dora": "use_dora",
    "model.adapter.type=rslora": "use_rslora",
    "data.train": "train_file train_data dataset data_path annotation_path train_dataset dataset_use",
    "data.val": "val_file eval_dataset val_dataset validation_file eval_data_path",
    "data.root": "image_folder image_root media_dir image_dir data_root",
    "data.global_max_length": "cutoff_len max_length max_seq_length model_max_length max_seq_len seq_length",
    "data.limit": "max_samples max_train_samples num_train_samples limit_train_batches",
    "training.eval_limit": "max_eval_samples max_val_samples num_eval_samples limit_val_batches",
    "data.overlong": "truncation_strategy",
    "data.num_workers": "dataloader_num_workers preprocessing_num_workers num_proc workers",
    "data.packing": "data_flatten data_packing padding_free sample_packing neat_packing",
    "data.answer.max_pixels": "image_max_pixels",
    "data.answer.min_pixels": "image_min_pixels",
    "data.answer.prompts.system": "system_prompt",
    "data.answer.prompts": "prompt",
}
"""By the dotted path here, and at most a word about it: the names elsewhere."""

OTHER_NAMES: dict[str, str] = {name: path for path, names in _MEANT.items() for name in names.split()}
"""By the name in another trainer: the dotted path here, and at most a word about it."""
