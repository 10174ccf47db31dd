"""Fixtures that several layers share."""

from __future__ import annotations

import gc
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from support.forks import Forks
from support.forks import forks as start_forks

# The workers of a suite share the cores, where threads that wait for each other take many times as long as one. This is
# for this process and for those that tests start.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

settings.register_profile("no_clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no_clock")


def pytest_collection_finish() -> None:
    """Leave what the imports and the collection made out of every later search for garbage: a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_folder() -> Iterator[Path]:
    """Folder of ``builtin:tiny``; built at most once per machine, in the user's cache.

    Its tokenizer, which takes a second or two to load, stays loaded however many others are loaded in between.
    """
    pytest.importorskip("torch", reason="builtin:tiny is built by torch")
    from dcap.data import encode
    from dcap.demo.models import resolve_model

    folder = resolve_model("builtin:tiny")
    load, tokenizer = encode._loaded, encode.load_tokenizer(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "_loaded", lambda *of: tokenizer if of == (folder, None) else load(*of))
        yield Path(folder)


@pytest.fixture(scope="session")
def micro_folder() -> Path:
    """Folder of ``builtin:micro``, whose tokens are bytes; built as `tiny_folder`."""
    pytest.importorskip("torch", reason="builtin:micro is built by torch")
    from dcap.demo.models import resolve_model

    return Path(resolve_model("builtin:micro"))


@pytest.fixture(autouse=True)
def restored_log() -> Iterator[None]:
    """Undo what a command or a rank under test makes of dcap's logger, which would silence later tests."""
    log = logging.getLogger("dcap")
    handlers, level, propagate = list(log.handlers), log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)
    # The import linter configures logging for itself, which disables every logger that exists.
    for name, child in logging.root.manager.loggerDict.items():
        if isinstance(child, logging.Logger) and name.split(".")[0] == "dcap":
            child.disabled = False


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Forks of a process that has imported torch and the model; see `support.forks`."""
    with start_forks() as started:
        yield started


WriteJsonl = Callable[..., Path]


@pytest.fixture
def write_jsonl(tmp_path: Path) -> WriteJsonl:
    """Write records (dicts, or raw bytes for broken lines) to a JSONL file."""

    def write(records: Sequence[dict[str, Any] | bytes], name: str = "train.jsonl") -> Path:
        lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
        path = tmp_path / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 64 x 48 pixels, ``a.png``."""
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 48), (10, 20, 30)).save(path)
    return path


def record(**changes: Any) -> dict[str, Any]:
    """Return a good record of a 64 x 48 image; a change to ``...`` removes the key."""
    data: dict[str, Any] = {
        "images": ["a.png"],
        "width": 64,
        "height": 48,
        "objects": [{"desc": "cup", "bbox_2d": [1, 2, 30, 40]}],
        **changes,
    }
    return {key: value for key, value in data.items() if value is not ...}


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    """Return `record`: a good record with changes."""
    return record


@pytest.fixture(scope="session")
def generator(micro_folder: Path) -> Any:
    """The micro model ready to generate; untrained, but no two prompts get the same answer."""
    return untrained_generator(micro_folder, gain=2)


@pytest.fixture(scope="session")
def tiny_generator(tiny_folder: Path) -> Any:
    """As `generator`, with the vocabulary of Qwen3-VL."""
    return untrained_generator(tiny_folder, gain=8)


def untrained_generator(folder: Path, gain: float) -> Any:
    import torch

    from dcap.data.encode import load_tokenizer
    from dcap.model.config import ModelConfig
    from dcap.model.generation import Generator
    from dcap.model.load import load_model

    torch.set_num_threads(1)
    config = ModelConfig(str(folder), dtype="float32")
    model = load_model(config, torch.device("cpu"), for_generation=True)
    with torch.no_grad():
        # Untrained layers add so little to their input that every answer would repeat the prompt's last token.
        for name, weight in model.named_parameters():
            if name.endswith("proj.weight"):
                weight *= gain
    return Generator(model, load_tokenizer(str(folder)), max_new_tokens=6)
