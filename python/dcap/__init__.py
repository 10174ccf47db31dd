"""Dense captioning with Qwen3-VL: exact geometry, packed batches, LoRA fine-tuning.

Import the room you need (`dcap.geometry`, `dcap.augment`, `dcap.data`, ...); this file stays almost empty so
that importing one of them costs nothing else.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
