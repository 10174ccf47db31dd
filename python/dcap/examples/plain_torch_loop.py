"""Train in a loop of your own, with dcap's samples, rows and loss; the smallest model, bundled photos, no GPU.

::

    python -m dcap.examples.plain_torch_loop
"""

import torch

from dcap.answers import AnswerProfile
from dcap.data import DataConfig, DenseCaptionDataset, EpochLoader, plan_epoch
from dcap.model import ModelConfig, attach, load_model
from dcap.train import SupervisedLoss, model_inputs


def main(num_epochs: int = 8) -> list[float]:
    """Train with LoRA and return the loss of every step."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    answer = AnswerProfile(min_pixels=16_384, max_pixels=65_536, emit_norm="norm100", max_polygon_points=6)
    data = DataConfig(train="builtin:photos/train.jsonl", answer=answer, global_max_length=2200, num_workers=0)
    dataset = DenseCaptionDataset(data, "train", "builtin:micro", augmentation=[{"name": "hflip", "prob": 0.5}])

    config = ModelConfig("builtin:micro", dtype="float32")
    loss = SupervisedLoss(attach(load_model(config, device), config)).train()
    optimizer = torch.optim.AdamW([p for p in loss.parameters() if p.requires_grad], lr=5e-3)

    losses = []
    for epoch in range(num_epochs):
        plan = plan_epoch(dataset, epoch)  # shuffled, augmented anew, packed into rows; no image is opened for it
        for row in EpochLoader(dataset, plan):
            out = loss(**model_inputs(row, device))
            out.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(out.loss.item())
            print(f"epoch {epoch}: loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()
