"""Adapters folded into the weights that they adapt, and how much of each update the precision of the result keeps.

::

    W    weight of the base          D    what the adapter adds to it; LoRA: scale * B A
    the merged weight is round(W + D): computed in float32, then cast once
    share of the update that survives = 1 - |round(W + D) - (W + D)| / |D|

bfloat16 has 8 significant bits: of an update that is a thousandth of its weight, rounding takes more than it leaves.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch

from dcap.core.errors import ConfigError
from dcap.model.towers import Tower, tower_of

_LAYER = re.compile(r"\b(?:(?:layers|blocks|deepstack_merger_list)\.\d+|merger|patch_embed)\b")


@dataclass(frozen=True, slots=True)
class Survival:
    """How much of an update is left in one layer after the cast."""

    tower: Tower
    layer: str
    """Such as ``layers.3``, ``blocks.0`` or ``merger``."""
    share: float
    """In 0..1, over all matrices of the layer; 1 where nothing was lost, 0 where rounding moved the weights at least
    as far as the update did."""


@dataclass(slots=True)
class _Sums:
    """Squares of the updates and of what the cast took, for each layer."""

    update: dict[tuple[Tower, str], float] = field(default_factory=lambda: defaultdict(float))
    lost: dict[tuple[Tower, str], float] = field(default_factory=lambda: defaultdict(float))

    def cast(self, module: str, before: torch.Tensor, exact: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return `exact`, a float32 weight of `module` that was `before`, in `dtype`."""
        after = exact.to(dtype)
        if not torch.isfinite(after).all():
            raise ConfigError(f"adapter must give finite weights, and those of {module} are not. It is damaged")
        layer = _LAYER.search(module)
        key = (tower_of(module), layer[0] if layer else module.rpartition(".")[2])
        self.update[key] += float(torch.linalg.vector_norm(exact - before)) ** 2
        self.lost[key] += float(torch.linalg.vector_norm(after.float() - exact)) ** 2
        return after

    def survival(self) -> tuple[Survival, ...]:
        """Return the share of each layer, in the order of the model."""
        return tuple(
            Survival(*key, max(0.0, 1 - (self.lost[key] / update) ** 0.5) if update else 1.0)
            for key, update in self.update.items()
        )


@torch.no_grad()
def merge_adapter(adapted: Any, dtype: torch.dtype) -> tuple[Any, tuple[Survival, ...]]:
    """Fold the adapter of a model into its weights, and cast all of them to `dtype`.

    The memory beyond that of the model is that of one matrix in float32, a few times.

    Args:
        adapted: From `dcap.model.lora.load_adapter` for a merge, or from `dcap.model.lora.attach`; used up.
        dtype: Precision of the result.

    Returns:
        The bare model, and what survives of the update of each layer.

    Raises:
        ConfigError: The adapter changes one of two weights that are tied, or gives weights that are not finite.
    """
    from peft.tuners.lora.layer import ParamWrapper
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    sums = _Sums()
    _refuse_tied(adapted)
    for name, module in list(adapted.named_modules()):
        if isinstance(module, BaseTunerLayer):
            # The matrices of all experts of a layer are one parameter, which has no module of its own.
            weight = module.get_param() if isinstance(module, ParamWrapper) else module.get_base_layer().weight
            before = weight.data
            weight.data = before.to(torch.float32, copy=True)
            module.merge()
            weight.data = sums.cast(_bare(name), before, weight.data, dtype)
        elif isinstance(module, ModulesToSaveWrapper):
            old = dict(module.original_module.named_parameters())
            for part, parameter in module.modules_to_save[module.active_adapter].named_parameters():
                parameter.data = sums.cast(_bare(name), old[part].data, parameter.data.float(), dtype)
    model = adapted.unload()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(dtype)
    return model, sums.survival()


def _bare(name: str) -> str:
    return name.removeprefix("base_model.model.")


def _refuse_tied(adapted: Any) -> None:
    """Refuse an adapter of one of two tied weights: merged, it would change the other one too."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    if not adapted.config.tie_word_embeddings:
        return
    changed = []
    for name, module in adapted.named_modules():
        if isinstance(module, BaseTunerLayer):
            changed.append(name)
        elif isinstance(module, ModulesToSaveWrapper):
            changed += [f"{name}.{part}".rstrip(".") for part, _ in module.original_module.named_modules()]
    for name in changed:
        if name.endswith(("embed_tokens", "lm_head")):
            raise ConfigError(
                f"adapter must leave {_bare(name)} as it is, as head and embedding of this model share their weights. "
                "Serve base and adapter unmerged"
            )
