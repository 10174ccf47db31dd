"""What augmentation did to the samples of the steps since the last line of metrics, over all ranks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from accelerate.utils import gather_object

from dcap.augment.telemetry import summarize
from dcap.data.collate import Batch


class AugmentTally:
    """Adds up the telemetry of this rank's samples; plain numbers, so nothing is exchanged until they are wanted."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)

    def add(self, batches: Sequence[Batch]) -> None:
        """Count the samples of a step."""
        for batch in batches:
            for sample in batch["samples"]:
                _add(self._sums, sample.tally)

    def metrics(self) -> dict[str, float]:
        """Return ``augment/...`` of the samples counted since the last call, over all ranks, which must all call it."""
        total: defaultdict[str, float] = defaultdict(float)
        for sums in gather_object([dict(self._sums)]):
            _add(total, sums)
        self._sums.clear()
        return {f"augment/{name}": value for name, value in summarize(total).items()}


def _add(sums: defaultdict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        sums[name] += value
