from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dcap.model.config import ModelConfig
from dcap.model.load import load_model


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model(micro_folder: Path) -> Any:
    """A fresh micro model on the CPU, float32, attention by segments."""
    return load_model(ModelConfig(str(micro_folder), dtype="float32"), torch.device("cpu"))
