"""Samples and batches: the data set, packing, collators, and the rows of an epoch. Batches need torch.

Example:
    data = DataConfig(train="builtin:photos/train.jsonl")
    dataset = DenseCaptionDataset(data, augmentation=[{"name": "hflip", "prob": 0.5}])
    batch = PackingCollator()([dataset[0], dataset[1]])
    for epoch in range(3):
        for batch in EpochLoader(dataset, plan_epoch(dataset, epoch)):
            ...
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.data.collate import Batch, PackingCollator, PaddingCollator, SampleInfo
    from dcap.data.config import DataConfig, MixtureEntry
    from dcap.data.dataset import DenseCaptionDataset
    from dcap.data.encode import Tokenizer, load_tokenizer
    from dcap.data.epoch import EpochPlan, EpochRules, plan_epoch
    from dcap.data.loader import EpochLoader
    from dcap.data.sample import Sample, SampleKey

__all__ = [
    "Batch",
    "DataConfig",
    "DenseCaptionDataset",
    "EpochLoader",
    "EpochPlan",
    "EpochRules",
    "MixtureEntry",
    "PackingCollator",
    "PaddingCollator",
    "Sample",
    "SampleInfo",
    "SampleKey",
    "Tokenizer",
    "load_tokenizer",
    "plan_epoch",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "collate": ("Batch", "PackingCollator", "PaddingCollator", "SampleInfo"),
        "config": ("DataConfig", "MixtureEntry"),
        "dataset": ("DenseCaptionDataset",),
        "encode": ("Tokenizer", "load_tokenizer"),
        "epoch": ("EpochPlan", "EpochRules", "plan_epoch"),
        "loader": ("EpochLoader",),
        "sample": ("Sample", "SampleKey"),
    },
)
