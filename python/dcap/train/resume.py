"""Whether a checkpoint may be continued under the config at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dcap.core.config import differences
from dcap.core.errors import CheckpointError
from dcap.core.log import get_logger

log = get_logger(__name__)

# A change of these would make other samples, other rows or another model: the run would be neither old nor new.
BINDING = (
    "seed",
    "model",
    "data",
    "augmentation",
    "training.per_device_batch_size",
)
# With a curriculum in percent, these make other samples too; the last one only where it decides on the steps.
LENGTH = ("training.num_epochs", "training.max_steps", "training.effective_batch_size")
# Inside those, these change neither samples nor what trains.
FREE = ("data.num_workers", "data.val", "data.root", "model.attention")


def check_same_run(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Compare two resolved configs (`dcap.core.config.to_tree`, plus ``world_size``).

    A change that keeps samples, rows and model, such as the number of epochs, of processes or of rows per step, is
    logged and followed.

    Raises:
        CheckpointError: A binding field differs; the message names every one with both values.
    """
    changes = sorted(differences(saved, current))
    in_percent = any(phase.get("until_percent") for phase in current["augmentation"].get("curriculum", ()))
    decisive = LENGTH[:-1] if current["training"].get("max_steps") else LENGTH
    binding_names = (*BINDING, *decisive) if in_percent else BINDING
    binding = [text for name, text in changes if _below(name, binding_names) and not _below(name, FREE)]
    if binding:
        raise CheckpointError(
            f"a run must be resumed with the config it began with, but {'; '.join(binding)}. "
            "Restore the value, or start anew with training.resume=none"
        )
    for name, text in changes:
        if name != "training.resume":
            log.warning("resuming with a change: %s", text)


def _below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
