"""The losses of single samples that a run keeps: their lines, and the files in the run folder.

::

    RUN/losses/epoch-000003.jsonl    the samples that epoch 3 trained on, each at its step
    RUN/losses/epoch-000004.jsonl    the newest epoch; the file of an older epoch is deleted
    RUN/losses/val.jsonl             the samples of the newest validation

    {"step":7,"index":4,"draw":0,"sample":"train.jsonl:5","caption":[3,0.41],"coordinate":[8,9.7],
     "structure":[21,0.02],"objects":[[1,"bbox_2d",[3,0.41],[8,9.7]]]}

A loss that is not finite is ``null``. Owns this format; the trainer writes it, and ``dcap audit --losses`` reads it. A
million samples with ten objects take about 500 MB an epoch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from dcap.core.errors import RecordError

KEPT_EPOCHS = 2
"""Epochs whose files are kept: the one that runs, and the whole one before it."""
LOSS_DECIMALS = 4
"""Decimals of a loss in a line."""
_NAME = re.compile(r"epoch-(\d+)\.jsonl")
_STEP = re.compile(rb'\{"step":(\d+),')


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Shape = Annotated[str, msgspec.Meta(pattern="^(bbox_2d|poly|line)$")]
_Number = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class TokenLoss(NamedTuple):
    """The loss of some tokens, without weights."""

    tokens: _Count
    """Number of tokens."""
    loss: float | None
    """Sum of their cross-entropies, in nats. `None`: it is not finite."""

    @property
    def mean(self) -> float | None:
        """Cross-entropy of a token, infinite where the sum is not finite. `None`: there is no token."""
        if not self.tokens:
            return None
        return math.inf if self.loss is None else self.loss / self.tokens


class ObjectLoss(NamedTuple):
    """The loss of one object of an answer."""

    number: _Number
    """Number of the object in the record, from 1."""
    shape: _Shape
    """Key of its shape in the answer: ``bbox_2d``, ``poly`` or ``line``."""
    caption: TokenLoss
    coordinate: TokenLoss


class SampleLoss(msgspec.Struct, frozen=True):
    """The loss of one sample by kind of token, and of each of its objects."""

    step: int
    """Optimiser step that trained on it, from 1, or after which it was validated."""
    index: _Count
    """Its record, from 0."""
    draw: int
    """How many samples of the same record the epoch takes before it."""
    sample: str
    """File and line of the record, and of a tile its window."""
    caption: TokenLoss
    coordinate: TokenLoss
    structure: TokenLoss
    objects: tuple[ObjectLoss, ...]
    """In the order of the answer. A summary has none."""

    def to_line(self) -> bytes:
        """Return the line of a file, with its line end."""
        return msgspec.json.encode(self) + b"\n"


_DECODER = msgspec.json.Decoder(SampleLoss)


def losses_folder(run: Path) -> Path:
    """Return the folder of the files of a run."""
    return run / "losses"


def epoch_file(run: Path, epoch: int) -> Path:
    """Return the file of an epoch of a run."""
    return losses_folder(run) / f"epoch-{epoch:06d}.jsonl"


def validation_file(run: Path) -> Path:
    """Return the file of the newest validation of a run."""
    return losses_folder(run) / "val.jsonl"


def epoch_files(run: Path) -> dict[int, Path]:
    """Return the files of the epochs of a run that there are, by epoch, oldest first."""
    found = {_NAME.fullmatch(path.name): path for path in losses_folder(run).glob("epoch-*.jsonl")}
    return dict(sorted((int(match[1]), path) for match, path in found.items() if match is not None))


def read_losses(path: Path) -> Iterator[SampleLoss]:
    """Yield the losses of a file.

    A last line that is cut, of a run that writes or was killed, is left out. A file that is gone has none: a run that
    goes on deletes those of old epochs.

    Raises:
        RecordError: Another line is damaged.
    """
    try:
        lines = path.open("rb")
    except FileNotFoundError:
        return
    with lines as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _DECODER.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise RecordError(
                    f"{path}:{number}: line must be the loss of a sample as training writes it ({error}). "
                    "Delete the line"
                ) from None


def end_of_step(path: Path, step: int) -> int:
    """Return the bytes of a file up to the end of the lines of a step: lines are in the order of steps.

    Args:
        path: The file.
        step: The last step that counts.
    """
    end = 0
    with path.open("rb") as file:
        for line in file:
            match = _STEP.match(line)
            if match is None or int(match[1]) > step or not line.endswith(b"\n"):
                break
            end += len(line)
    return end
