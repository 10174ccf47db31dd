"""Qwen3-VL: loading, attention for packed rows, adapters and towers, generation, and the memory of training.

Example:
    config = ModelConfig("Qwen/Qwen3-VL-4B-Instruct")
    model = attach(load_model(config, torch.device("cuda")), config)
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.model.config import AdapterConfig, ModelConfig
    from dcap.model.constraint import TokenGrammar
    from dcap.model.decoding import Decoding
    from dcap.model.generation import Constraint, Generated, GenerationCounts, Generator, Prompt
    from dcap.model.layer_cost import MemoryRows, MemoryStep
    from dcap.model.load import blank_model, load_model
    from dcap.model.lora import attach, bare_model, load_adapter
    from dcap.model.memory import MemoryEstimate, estimate_memory

__all__ = [
    "AdapterConfig",
    "Constraint",
    "Decoding",
    "Generated",
    "GenerationCounts",
    "Generator",
    "MemoryEstimate",
    "MemoryRows",
    "MemoryStep",
    "ModelConfig",
    "Prompt",
    "TokenGrammar",
    "attach",
    "bare_model",
    "blank_model",
    "estimate_memory",
    "load_adapter",
    "load_model",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "config": ("AdapterConfig", "ModelConfig"),
        "constraint": ("TokenGrammar",),
        "decoding": ("Decoding",),
        "generation": ("Constraint", "Generated", "GenerationCounts", "Generator", "Prompt"),
        "layer_cost": ("MemoryRows", "MemoryStep"),
        "load": ("blank_model", "load_model"),
        "lora": ("attach", "bare_model", "load_adapter"),
        "memory": ("MemoryEstimate", "estimate_memory"),
    },
)
