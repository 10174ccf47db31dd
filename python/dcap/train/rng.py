"""The states of the global random generators as plain tensors: nothing of a checkpoint needs pickle."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

import numpy as np
import torch


def rng_tensors() -> dict[str, torch.Tensor]:
    """Return the states of torch, CUDA (this process's device), NumPy and Python."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one is meant
    assert isinstance(numpy_state, dict)
    twister = numpy_state["state"]
    version, words, next_gauss = random.getstate()
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*twister["key"].tolist(), twister["pos"], numpy_state["has_gauss"]]),
        "numpy_gauss": torch.tensor([numpy_state["gauss"]], dtype=torch.float64),
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_gauss": torch.tensor([math.nan if next_gauss is None else next_gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore_rng(tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `rng_tensors` returned; a CUDA state is left alone where there is no CUDA."""
    torch.set_rng_state(tensors["torch"])
    *keys, position, has_gauss = tensors["numpy"].tolist()
    state = ("MT19937", np.array(keys, np.uint32), position, has_gauss, float(tensors["numpy_gauss"]))
    np.random.set_state(state)  # noqa: NPY002 - the global one is meant
    version, *words = tensors["python"].tolist()
    gauss = float(tensors["python_gauss"])
    random.setstate((version, tuple(words), None if math.isnan(gauss) else gauss))
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
