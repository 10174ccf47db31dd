"""Train in a loop of your own, with dcap's samples, rows and loss; a tiny model, bundled photos, no GPU.

::

    python -m dcap.examples.plain_torch_loop
"""

import torch

from dcap.answers.profile import AnswerProfile
from dcap.data import DataConfig, DenseCaptionDataset, PackingCollator
from dcap.model.config import ModelConfig
from dcap.model.load import load_model
from dcap.model.lora import attach
from dcap.train import SupervisedLoss, model_inputs


def main(num_epochs: int = 8) -> list[float]:
    """Train with LoRA and return the loss of every step."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    answer = AnswerProfile(min_pixels=16_384, max_pixels=65_536, emit_norm="norm100", max_polygon_points=6)
    data = DataConfig(train="builtin:photos/train.jsonl", answer=answer)
    dataset = DenseCaptionDataset(data, "train", "builtin:tiny", augmentation=[{"name": "hflip", "prob": 0.5}])

    config = ModelConfig("builtin:tiny", dtype="float32")
    loss = SupervisedLoss(attach(load_model(config, device), config)).train()
    optimizer = torch.optim.AdamW([p for p in loss.parameters() if p.requires_grad], lr=5e-3)

    collate = PackingCollator()
    losses = []
    for epoch in range(num_epochs):
        order = torch.randperm(len(dataset)).tolist()
        for start in range(0, len(order), 2):
            # A sample is a pure function of seed, epoch and index: each epoch augments it anew.
            row = collate([dataset[epoch, index] for index in order[start : start + 2]])
            out = loss(**model_inputs(row, device))
            out.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(out.loss.item())
            print(f"epoch {epoch}: loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()
