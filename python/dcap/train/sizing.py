"""The sizes of a first run: what follows from the records and from the GPU.

Lengths are planned, not guessed, where a tokenizer is installed. Memory is estimated without weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from dcap.answers.codec import write_answer
from dcap.answers.profile import AnswerProfile
from dcap.core.errors import MissingPackageError
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import Tokenizer, load_tokenizer
from dcap.data.lengths import sample_sizes
from dcap.data.planning import PlannedSample
from dcap.demo.models import BUILTIN_MICRO, BUILTIN_SCENES_MICRO, BUILTIN_TINY
from dcap.geometry.shapes import GeometryKind
from dcap.model.config import ModelConfig
from dcap.records.record import Record

MOST_RECORDS = 2000
"""Records that numbers are taken from; of more, a part is drawn."""
_GIB = 2**30
_USED = 0.85
"""Share of a GPU's memory that the estimate may fill: it has never been compared with a GPU."""
HEADROOM = 1.15
"""Augmentation makes some samples longer."""
LEAST_PIXELS = 65_536
"""Smallest size of images that is chosen, height x width."""
_MOST_PIXELS, _MOST_PIXELS_ON_CPU = 1_048_576, 131_072
_LONGEST_ROW = 16_384
_STEP = 256

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Facts:
    """What is known of the training records."""

    num_records: int
    """All of them."""
    num_looked_at: int
    """Those that the other numbers are taken from."""
    pixels: F64
    """Height x width of each image."""
    objects: F64
    """Objects of each record."""
    sides: F64
    """Square root of the area of the box around each object, in pixels of the file."""
    points: F64
    """Points of each polygon and line."""

    @classmethod
    def of(cls, records: Sequence[Record], num_records: int) -> Facts:
        """Take the facts of some records.

        Args:
            records: Some of the training records.
            num_records: How many there are in all.
        """
        sides = [box_sides(record) for record in records]
        return cls(
            num_records=num_records,
            num_looked_at=len(records),
            pixels=np.array([record.canvas.num_pixels for record in records], np.float64),
            objects=np.array([len(record.shapes) for record in records], np.float64),
            sides=np.concatenate([np.empty(0), *sides]),
            points=np.concatenate([np.empty(0), *map(_points, records)]),
        )


def box_sides(record: Record) -> F64:
    """Return the square root of the area of the box around each object, float64 (N,)."""
    shapes = record.shapes
    if not len(shapes):
        return np.empty(0)
    low = np.minimum.reduceat(shapes.xy, shapes.offsets[:-1])
    high = np.maximum.reduceat(shapes.xy, shapes.offsets[:-1])
    return np.asarray(np.sqrt((high - low).prod(axis=1)), np.float64)


def _points(record: Record) -> F64:
    counts = np.diff(record.shapes.offsets)
    return np.asarray(counts[record.shapes.kinds != GeometryKind.BOX], np.float64)


@dataclass(frozen=True)
class Lengths:
    """Tokens of samples, at one image size."""

    tokens: F64
    """All tokens of each sample."""
    image: F64
    """Those of its image."""
    counted: bool
    """Whether a tokenizer counted them. Else they are bytes, and bounds."""

    @property
    def longest(self) -> int:
        """The longest sample with headroom, as a multiple of 256."""
        return max(_STEP, round_tokens(float(self.tokens.max()) * HEADROOM))


@dataclass(frozen=True)
class Machine:
    """Where the run shall train."""

    model: str
    """Hub id or built-in name."""
    dtype: str
    """Precision of the frozen weights and the forward pass."""
    row: int
    """Tokens of a row."""
    checkpointing: bool
    """Whether activations are computed again in the backward pass."""
    memory_gib: float | None
    """Estimated peak. `None`: not estimated."""
    note: str
    """Why this model."""


def max_pixels_for(facts: Facts, has_gpu: bool) -> int:
    """Return the size of images that the model sees: that of nearly all files, within a bound."""
    most = _MOST_PIXELS if has_gpu else _MOST_PIXELS_ON_CPU
    wanted = float(np.quantile(facts.pixels, 0.95)) if len(facts.pixels) else most
    return int(min(most, max(LEAST_PIXELS, math.ceil(wanted / 1024) * 1024)))


def plan_lengths(
    train: Sequence[str], max_pixels: int, model: str = BUILTIN_TINY, root: str | None = None, on_bad: str = "error"
) -> Lengths:
    """Return the lengths of training samples without augmentation, of a part of many.

    Args:
        train: Files of training records.
        max_pixels: Size of images that the model sees.
        model: Whose tokenizer counts, as `counting_model` says.
        root: As ``data.root``.
        on_bad: As ``data.on_bad_record``.

    Raises:
        RecordError: A record cannot be planned.
    """
    answer = {"max_pixels": max_pixels, "min_pixels": min(LEAST_PIXELS, max_pixels)}
    tree = {
        "train": list(train), "root": root, "limit": MOST_RECORDS, "check_images": False, "answer": answer,
        "global_max_length": 1 << 30, "num_workers": 0, "on_bad_record": on_bad,
    }  # fmt: skip
    tokenizer = _tokenizer(model)
    dataset = DenseCaptionDataset(tree, "train", tokenizer)
    if tokenizer is not None:
        sizes = sample_sizes(dataset, 0)
        return Lengths(sizes.tokens.astype(np.float64), sizes.image_tokens.astype(np.float64), True)
    planned = [dataset.plan(0, k) for k in range(len(dataset))]
    image = np.array([each.result.scene.canvas.num_pixels / 1024 for each in planned])
    text = np.array([_num_bytes(each, dataset.profile.answer) for each in planned], np.float64) + _STEP
    return Lengths(image + text, image, False)


def _num_bytes(planned: PlannedSample, profile: AnswerProfile) -> int:
    return 0 if planned.answer is None else len(write_answer(planned.answer, profile).encode())


def _tokenizer(model: str) -> Tokenizer | None:
    try:
        return load_tokenizer(model)
    except MissingPackageError:
        return None


def trial_model() -> str:
    """Return the small model for a machine without a GPU: the one with the vocabulary of Qwen3-VL, if that is there."""
    return BUILTIN_MICRO if _tokenizer(BUILTIN_TINY) is None else BUILTIN_TINY


def counting_model(model: str) -> str:
    """Return the model whose tokenizer counts the tokens of a model.

    A micro has a vocabulary of its own. `BUILTIN_TINY` has that of all Qwen3-VL models.
    """
    return model if model in (BUILTIN_MICRO, BUILTIN_SCENES_MICRO) else BUILTIN_TINY


def choose_machine(lengths: Lengths, gpu_gib: float | None, model: str | None = None) -> Machine:
    """Return model, row and checkpointing for a GPU, or for a CPU.

    Args:
        lengths: Of the samples.
        gpu_gib: Memory of the GPU in GiB. `None`: there is none.
        model: The model that the user wants. `None`: the largest that fits.
    """
    longest = lengths.longest
    if gpu_gib is None:
        chosen = model or trial_model()
        its = (
            "" if chosen == BUILTIN_TINY else " whose tokens are bytes, as the vocabulary of Qwen3-VL is not installed"
        )
        note = (
            f"no GPU was found: a tiny random model{its}, to try every step. It is too small to understand images; "
            "real work needs a GPU and, for example, Qwen/Qwen3-VL-2B-Instruct"
        )
        return Machine(chosen, "float32", longest, False, None, note if model is None else "your choice")
    row = max(longest, min(_LONGEST_ROW, round_tokens(4 * float(np.quantile(lengths.tokens, 0.95)))))
    if find_spec("torch") is None or find_spec("transformers") is None:
        note = "memory was not estimated, since torch or transformers is not installed"
        return Machine(model or "Qwen/Qwen3-VL-4B-Instruct", "bfloat16", row, True, None, note)
    return _fitting_machine(lengths, gpu_gib, model, (row, longest))


def _fitting_machine(lengths: Lengths, gpu_gib: float, model: str | None, rows: tuple[int, int]) -> Machine:
    from dcap.model.sizes import MIXTURES, SIZES, published_memory

    # A mixture of experts is taken where it is asked for: weights of 57 GiB are much for a first run.
    sizes = [size for size in SIZES if model is None] or [size for size in (*SIZES, *MIXTURES) if size.name == model]
    if not sizes:
        return Machine(str(model), "bfloat16", rows[0], True, None, "your choice; its memory is not known here")
    config = ModelConfig(sizes[0].name)
    image_share = float((lengths.image / lengths.tokens).max())
    text_share = float((1 - lengths.image / lengths.tokens).max())

    def machine(size: int, row: int, checkpointing: bool) -> Machine:
        found = published_memory(
            sizes[size], config, tokens=row, patches=4 * round(row * image_share), supervised=round(row * text_share),
            checkpointing=checkpointing,
        )  # fmt: skip
        gib = found.total / _GIB
        note = f"the largest that fits a GPU of {gpu_gib:.0f} GiB" if model is None else "your choice"
        return Machine(sizes[size].name, "bfloat16", row, checkpointing, gib, note)

    tried = None
    for size in range(len(sizes)):
        for row in dict.fromkeys(rows):
            tried = machine(size, row, True)
            if tried.memory_gib is not None and tried.memory_gib <= _USED * gpu_gib:
                faster = machine(size, row, False)
                fits = faster.memory_gib is not None and faster.memory_gib <= _USED * gpu_gib
                return faster if fits else tried
    assert tried is not None
    note = f"no size fits a GPU of {gpu_gib:.0f} GiB with these samples; smaller images (max_pixels) take less"
    return Machine(tried.model, tried.dtype, tried.row, True, tried.memory_gib, note)


def round_tokens(tokens: float) -> int:
    """Return a number of tokens, rounded up to a multiple of 256."""
    return math.ceil(tokens / _STEP) * _STEP
