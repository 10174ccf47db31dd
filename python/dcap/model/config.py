"""The ``model:`` section of a config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dcap.core.config import check_fields
from dcap.core.errors import ConfigError
from dcap.model.layers import LayerChoice, check_choices

AdapterInit = Literal["default", "pissa", "pissa_niter_16", "olora"]
Attention = Literal["auto", "flash_attention_2", "varlen", "segments"]
Quantization = Literal["none", "nf4"]
"""How the linear layers of the language model are held while they do not train."""
LLM_LINEAR = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj",
)  # fmt: skip
"""The linear layers inside a layer of the language model."""


@dataclass(frozen=True)
class AdapterConfig:
    """How the model is tuned."""

    type: Literal["lora", "dora", "rslora", "full"] = "lora"
    """Low-rank adapters of three kinds, or all weights of the towers that are not frozen."""
    rank: int = 16
    """Inner dimension of the adapters."""
    alpha: int = 32
    """Scale of the update: it is multiplied by alpha / rank (rslora: alpha / sqrt(rank))."""
    dropout: float = 0.0
    """Dropout on the adapters' input, at least 0 and below 1."""
    init: AdapterInit = "default"
    """Where a ``lora`` adapter begins. ``default``: at no change, as B is 0. ``pissa``: at the largest singular values
    of each weight, which takes minutes for a large model. ``pissa_niter_16``: near them, in seconds. ``olora``: at the
    QR decomposition of each weight. What is saved is an ordinary adapter of twice the rank, on the same base."""
    target_modules: tuple[str, ...] | str | None = None
    """Module names, or one regular expression. `null`: every linear layer of the towers that train."""
    modules_to_save: tuple[str, ...] = ()
    """Modules trained in full beside the adapters and saved with them."""
    layers: dict[str, LayerChoice] | None = None
    """Layers of a tower that train, such as ``{vit: last 6, llm: all}``: ``all``, ``first N``, ``last N``, or numbers
    from 0 and ranges (``0-3, 8``). They bound `target_modules` and what ``full`` trains, not `modules_to_save`. A tower
    that is not named trains in all its layers. `null`: all layers."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.rank < 1 or self.alpha < 1:
            raise ConfigError(f"rank and alpha must be at least 1, not {self.rank} and {self.alpha}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        if self.init != "default" and self.type != "lora":
            raise ConfigError(f"init must be default with type {self.type}, not {self.init}. Set adapter.type=lora")
        check_choices(self.layers or {})


@dataclass(frozen=True)
class InitAdapter:
    """The adapter of an earlier run that training begins with."""

    path: str
    """Folder that ``dcap train`` wrote, such as ``runs/stage1/final``, or the folder of the adapter itself."""
    merge: bool = False
    """``false``: go on training this adapter, which `model.adapter` must describe. ``true``: fold it into the model in
    memory, and train a new adapter, or the model in full."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.path:
            raise ConfigError("path must name a folder, and is empty")


@dataclass(frozen=True)
class ModelConfig:
    """Which Qwen3-VL to load, its precision, and the parts that train."""

    name_or_path: str
    """Hub id, folder, ``builtin:tiny`` (small, random, with the real vocabulary; built on the spot),
    ``builtin:micro`` (the same with bytes for tokens, which trains many times faster), or ``builtin:scenes-micro``
    (a micro that describes rendered scenes)."""
    revision: str | None = None
    """Hub revision. `null`: the newest."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Precision of the frozen weights and the forward pass; trained weights are kept in float32."""
    attention: Attention = "auto"
    """``auto``: flash-attn if importable on CUDA, else torch's varlen on CUDA, else ``segments``."""
    quantization: Quantization = "none"
    """``nf4``: keep the linear layers of the language model in 4 bits, by bitsandbytes, which takes a quarter of their
    memory; adapters train on top. All else keeps its precision. It needs the extra ``quantized``."""
    freeze_llm: bool = False
    """Keep the language model as it is."""
    freeze_vit: bool = True
    """Keep the vision tower's blocks as they are."""
    freeze_aligner: bool = False
    """Keep the aligner as it is: ``merger`` and every ``deepstack_merger_list.*``."""
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    """How the towers that train are tuned."""
    init_adapter: str | InitAdapter | None = None
    """Adapter of an earlier run that training begins with: its folder, or `path` and `merge`. `null`: a new adapter."""

    @property
    def folds_init_adapter(self) -> bool:
        """Whether the adapter of an earlier run becomes part of the model before training."""
        return isinstance(self.init_adapter, InitAdapter) and self.init_adapter.merge

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.init_adapter, str):
            object.__setattr__(self, "init_adapter", InitAdapter(self.init_adapter))
        if self.adapter.type == "full" and self.init_adapter is not None and not self.folds_init_adapter:
            raise ConfigError("init_adapter.merge must be true with adapter.type full, as no adapter is trained")
        if self.adapter.init != "default" and self.init_adapter is not None and not self.folds_init_adapter:
            raise ConfigError(
                f"adapter.init must be default where init_adapter is trained further, not {self.adapter.init}: its "
                "weights are the start. Or set init_adapter.merge=true, to fold it in and begin a new adapter"
            )
        if self.quantization != "none":
            self._check_quantised()
        if self.freeze_llm and self.freeze_vit and self.freeze_aligner:
            raise ConfigError("freeze_llm, freeze_vit and freeze_aligner must not all be true: nothing would train")
        for tower, is_frozen in (("llm", self.freeze_llm), ("vit", self.freeze_vit)):
            if is_frozen and tower in (self.adapter.layers or {}):
                raise ConfigError(
                    f"adapter.layers.{tower} must not be given where model.freeze_{tower} is true: no layer of the "
                    f"{tower} trains. Set model.freeze_{tower}=false, or leave it out"
                )

    def _check_quantised(self) -> None:
        """Refuse what cannot be done on weights of 4 bits."""
        name, adapter = self.quantization, self.adapter
        if adapter.type == "full":
            raise ConfigError(
                f"quantization must be none with adapter.type full, not {name}: weights of 4 bits cannot train. Set "
                "adapter.type=lora, or quantization=none"
            )
        if adapter.init != "default":
            raise ConfigError(
                f"adapter.init must be default with quantization {name}, not {adapter.init}, which begins at weights "
                "that are not rounded. Set adapter.init=default, or quantization=none"
            )
        for wanted in adapter.modules_to_save:
            if _holds_llm_linear(wanted):
                raise ConfigError(
                    f"adapter.modules_to_save must not name {wanted} with quantization {name}: it holds weights of 4 "
                    "bits, which cannot train. Leave it out, or set quantization=none"
                )


def _holds_llm_linear(wanted: str) -> bool:
    """Whether a name of ``modules_to_save`` is that of a linear layer of the language model, or of what holds one."""
    parts = ["N" if part.isdecimal() else part for part in wanted.split(".")]
    for layer in LLM_LINEAR:
        path = ["model", "language_model", "layers", "N", *layer.split(".")]
        if any(path[:stop][-len(parts) :] == parts for stop in range(len(parts), len(path) + 1)):
            return True
    return False
