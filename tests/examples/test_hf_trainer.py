from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dcap.answers.profile import load_profile
from dcap.examples.hf_trainer import TrainerLoss, collate, main
from dcap.infer.source import find_source
from dcap.train.loss import SupervisedLoss


@pytest.mark.usefixtures("micro_folder")
def test_its_loss_is_that_of_dcap(tmp_path: Path) -> None:
    """One step of two rows, whose losses weigh as their tokens do; then the same four samples in one row."""
    trainer = main(tmp_path, num_epochs=1, learning_rate=1e-30)
    (logged,) = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    wrapped = trainer.model
    assert isinstance(wrapped, TrainerLoss)
    assert isinstance(wrapped.loss, SupervisedLoss)
    samples = [trainer.train_dataset[k] for k in range(4)]
    with torch.no_grad():
        whole = float(wrapped.loss(**collate(samples)).loss)
        rows = [float(wrapped.loss(**collate(samples[k : k + 2])).loss) for k in (0, 2)]
    assert logged == pytest.approx(whole, abs=1e-5)
    assert abs(sum(rows) / 2 - whole) > 1e-4  # a mean of means would be seen
    assert find_source("builtin:micro", tmp_path).profile == load_profile(tmp_path)
