"""Models whose linear layers are in 4 bits."""

from __future__ import annotations

from typing import Any

import torch


def held_tensors(model: Any) -> list[torch.Tensor]:
    """The weights of a model, and what bitsandbytes keeps beside those in 4 bits."""
    tensors: list[torch.Tensor] = list(model.parameters())
    for weight in model.parameters():
        state = getattr(weight, "quant_state", None)
        if state is not None:
            tensors += [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
    return tensors
