"""Train dcap's rows in Hugging Face's Trainer; the smallest model, bundled photos, no GPU.

::

    python -m dcap.examples.hf_trainer runs/hf
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from dcap.answers import AnswerProfile, save_profile
from dcap.data import DataConfig, DenseCaptionDataset, PackingCollator, Sample
from dcap.model import ModelConfig, attach, load_model
from dcap.train import SupervisedLoss, model_inputs


class Epochs(Dataset[Sample]):
    """The samples of some epochs, one epoch after the other; each augments its samples anew."""

    def __init__(self, dataset: DenseCaptionDataset, num_epochs: int) -> None:
        self.dataset, self.num_epochs = dataset, num_epochs

    def __len__(self) -> int:
        return self.num_epochs * len(self.dataset)

    def __getitem__(self, k: int) -> Sample:
        return self.dataset[divmod(k, len(self.dataset))]  # epoch and index


class TrainerLoss(torch.nn.Module):
    """The model as Trainer calls it: returns the loss over the supervised tokens of the whole step."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.loss = SupervisedLoss(model)

    def forward(self, num_items_in_batch: Any = None, **row: Any) -> dict[str, torch.Tensor]:
        """Return the loss of one row; Trainer counts the tokens of all rows of a step and gives their number."""
        out = self.loss(**row)
        return {"loss": out.loss if num_items_in_batch is None else out.loss_sum / num_items_in_batch}


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return one packed row with what the loss takes of it."""
    return model_inputs(PackingCollator()(samples), torch.device("cpu"))


def main(folder: Path, num_epochs: int = 3, learning_rate: float = 5e-3) -> Trainer:
    """Train with LoRA, save the adapter so that ``dcap predict`` takes it, and return the trainer."""
    answer = AnswerProfile(min_pixels=16_384, max_pixels=65_536, emit_norm="norm100", max_polygon_points=6)
    data = DataConfig(train="builtin:photos/train.jsonl", answer=answer)
    dataset = DenseCaptionDataset(data, "train", "builtin:micro", augmentation=[{"name": "hflip", "prob": 0.5}])
    config = ModelConfig("builtin:micro", dtype="float32")
    model = attach(load_model(config, torch.device("cpu")), config)
    settings = TrainingArguments(
        str(folder), per_device_train_batch_size=2, gradient_accumulation_steps=2, num_train_epochs=1, logging_steps=1,
        learning_rate=learning_rate, save_strategy="no", dataloader_pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
    trainer = Trainer(TrainerLoss(model), settings, collate, Epochs(dataset, num_epochs))
    trainer.train()
    model.save_pretrained(str(folder / "adapter"), save_embedding_layers=False)
    save_profile(folder, dataset.profile)
    return trainer


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/hf"))
