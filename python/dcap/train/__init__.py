"""Supervised fine-tuning on Accelerate; start it with ``accelerate launch -m dcap.train CONFIG``.

Example:
    config = load_run_config("configs/demo.yaml", ["training.num_epochs=2"])
    state = train(config)
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.train.config import RunConfig, TrainingConfig, load_run_config
    from dcap.train.loop import fit, train
    from dcap.train.loss import LossOutput, SupervisedLoss, model_inputs

__all__ = [
    "LossOutput",
    "RunConfig",
    "SupervisedLoss",
    "TrainingConfig",
    "fit",
    "load_run_config",
    "model_inputs",
    "train",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "config": ("RunConfig", "TrainingConfig", "load_run_config"),
        "loop": ("fit", "train"),
        "loss": ("LossOutput", "SupervisedLoss", "model_inputs"),
    },
)
