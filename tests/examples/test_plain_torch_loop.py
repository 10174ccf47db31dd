from __future__ import annotations

import pytest
import torch

from dcap.examples.plain_torch_loop import main


@pytest.mark.usefixtures("micro_folder")
def test_the_loss_falls() -> None:
    losses = main(num_epochs=2)
    assert len(losses) == 6  # two epochs of three rows
    assert torch.isfinite(torch.tensor(losses)).all()
    assert sum(losses[3:]) < sum(losses[:3])
