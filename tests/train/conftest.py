from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

import dcap
from dcap.core.config import build, merge
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.load import load_model
from dcap.model.lora import attach, trainable
from dcap.model.towers import count_parameters
from dcap.train.config import RunConfig, TrainingConfig
from dcap.train.loss import SupervisedLoss
from dcap.train.optimizer import build_optimizer
from dcap.train.step import Learner

IMAGES = Path(dcap.__file__).parent / "assets" / "photos" / "images"
PHOTOS = (("chelsea.png", 451, 300), ("coffee.png", 600, 400), ("astronaut.png", 512, 512), ("coins.png", 384, 303))


@pytest.fixture(scope="session", autouse=True)
def _one_cpu_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        # Equal to the bit is promised on a CPU.
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def photo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four bundled photos with a short answer each."""
    path = tmp_path_factory.mktemp("photos") / "four.jsonl"
    records = [
        {
            "images": [str(IMAGES / name)],
            "width": width,
            "height": height,
            "objects": [{"desc": f"thing {i}", "bbox_2d": [10 + 5 * i, 20, width - 10, height - 30]}],
        }
        for i, (name, width, height) in enumerate(PHOTOS)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def run_tree(tmp_path: Path, photo_file: Path) -> dict[str, Any]:
    """A small run over the photos: one sample per row, four rows per epoch, two per step."""
    return {
        "model": {"name_or_path": "builtin:micro", "dtype": "float32", "adapter": {"rank": 2, "dropout": 0.1}},
        "data": {
            "train": str(photo_file),
            "global_max_length": 128,
            "num_workers": 0,
            "answer": {"min_pixels": 4096, "max_pixels": 8192, "prompts": {"dense": "List."}},
        },
        "augmentation": {"ops": [{"name": "hflip", "prob": 0.5}]},
        "training": {
            "output_dir": str(tmp_path / "run"),
            "max_steps": 4,
            "effective_batch_size": 2,
            "learning_rate": 0.01,
            "save_steps": 2,
            "trackers": [],
        },
        "seed": 3,
    }


@pytest.fixture
def run_config(run_tree: dict[str, Any]) -> Callable[..., RunConfig]:
    """Return a function that builds `run_tree` with changes on top."""
    return lambda **changes: build(RunConfig, merge(run_tree, changes))


MakeLearner = Callable[..., Learner]


@pytest.fixture
def make_learner(micro_folder: Path) -> MakeLearner:
    """Return a function that makes a Learner on the micro model, in one process on the CPU."""

    def make(model: dict[str, Any] | None = None, training: dict[str, Any] | None = None, seed: int = 0) -> Learner:
        changes = {"dtype": "float32", "adapter": AdapterConfig(rank=2), **(model or {})}
        config = ModelConfig(str(micro_folder), **changes)
        settings = TrainingConfig("unused", **{"loss_chunk_tokens": 8, **(training or {})})
        accelerator = Accelerator(cpu=True)
        bare = load_model(config, torch.device("cpu"))
        torch.manual_seed(seed)
        tuned = attach(bare, config)
        dtype = getattr(torch, config.dtype)
        return Learner(
            accelerator=accelerator,
            module=accelerator.prepare_model(SupervisedLoss(tuned, settings.loss_chunk_tokens, dtype)),
            parameters=trainable(tuned),
            optimizer=build_optimizer(tuned, settings),
            max_grad_norm=settings.max_grad_norm,
            seed=seed,
            unproven={count.tower for count in count_parameters(tuned) if count.trainable},
        )

    return make


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Filled by the first test that runs the standard config to its end."""
    return {}
