"""Sample: one encoded training example, made from a plan and its decoded image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from dcap.augment.patches import PATCH
from dcap.augment.pipeline import Pipeline
from dcap.augment.plan import AugmentResult
from dcap.augment.rendering import render
from dcap.augment.scene import Scene
from dcap.augment.schedule import TrainingStep
from dcap.core.errors import GeometryError, RecordError
from dcap.core.random import generator
from dcap.data.encode import IGNORE_INDEX, grid_thw, mrope_positions, patchify
from dcap.data.planning import PlannedSample, Planner
from dcap.data.tokens import TokenKind
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray

FILLER = "filler"
"""Name of the stand-in sample in a row whose images were all left out."""


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Which sample, in which epoch, and when it is trained on; a filler is the same sample with a loss weight of 0."""

    epoch: int
    index: int
    filler: bool = False
    when: TrainingStep | None = None
    """Only a curriculum looks at it. `None`: the first step."""
    draw: int = 0
    """How many samples of the same record the epoch takes before this one; a mixture may take it several times."""


@dataclass(frozen=True, eq=False, slots=True)
class ObjectTokens:
    """The objects of an answer among its tokens, in the order of the text.

    ::

        tokens     {"object_1": {"bbox_2d": [417, 494, ...], "desc": "cup"}, "object_2": {"bbox_2d": [9, ...}}<|im_end|>
        bounds                               ^ 12                                                     ^ 49    ^ 68
        numbers                              2                                                        1
        kinds                                BOX                                                      BOX
    """

    bounds: npt.NDArray[np.int64]
    """int64 (N + 1,): the first token of each, counted from the first one of the answer, and ``<|im_end|>``. An object
    ends where the next one begins."""
    numbers: npt.NDArray[np.int64]
    """int64 (N,): number of each in the record, from 1. Copies and parts of an object have its number."""
    kinds: npt.NDArray[np.uint8]
    """uint8 (N,): the `GeometryKind` of each, as the answer has it."""

    @classmethod
    def none(cls) -> ObjectTokens:
        """Return what a text without objects has."""
        return cls(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8))

    @classmethod
    def of(cls, planned: PlannedSample, bounds: npt.NDArray[np.int64]) -> ObjectTokens:
        """Return the objects of a planned sample.

        Args:
            planned: The sample.
            bounds: As `bounds`. Those of a plugin's text may not show its objects; then there are none.
        """
        answer = planned.answer
        if answer is None or len(bounds) != len(answer.index) + 1:
            return cls.none()
        return cls(bounds, planned.result.source_index[answer.index] + 1, answer.shapes.kinds)


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """Token ids, patches and shapes of one example; L tokens, N patches.

    Args:
        input_ids: int64 (L,): prompt, answer, ``<|im_end|>``.
        labels: int64 (L,): the answer and its ``<|im_end|>``, -100 elsewhere.
        mm_token_type_ids: int64 (L,): 1 at image placeholders, 0 elsewhere.
        position_ids: int64 (4, L): text, temporal, height and width positions.
        token_kinds: uint8 (L,): the `TokenKind` of every token, prompt and image included.
        grid_thw: Patch grid of the image, or None.
        dataset: Name of the data set.
        sample_id: File and line of the record, and of a tile its window.
        weight: Loss weight of every supervised token.
        planned_length: Length that the plan promised before the image was opened.
        answer: The supervised text.
        augmented: Shapes and captions in canvas pixels, the plan and its telemetry; its scene holds the pixels.
        objects: Where the objects are among the tokens of the answer.
        key: The key by which it was asked for. `None`: it is a conversation, or was not made by a data set.
    """

    input_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    mm_token_type_ids: npt.NDArray[np.int64]
    position_ids: npt.NDArray[np.int64]
    token_kinds: npt.NDArray[np.uint8]
    grid_thw: tuple[int, int, int] | None
    dataset: str
    sample_id: str
    weight: float
    planned_length: int
    answer: str
    augmented: AugmentResult
    objects: ObjectTokens = field(default_factory=ObjectTokens.none)
    key: SampleKey | None = None

    @property
    def num_supervised(self) -> int:
        """Tokens that carry a label."""
        return int((self.labels != IGNORE_INDEX).sum())

    @property
    def num_patches(self) -> int:
        """Rows of `pixel_values`; 0 without an image."""
        image = self.scene.image
        return 0 if image is None else image.shape[0] * image.shape[1] // PATCH**2

    @property
    def pixel_values(self) -> npt.NDArray[np.float32] | None:
        """Patches for the vision tower, float32 (N, 1536), made anew on each access. `None`: no image."""
        image = self.scene.image
        return None if image is None else patchify(image)

    @property
    def scene(self) -> Scene:
        """The image that the model sees, with its shapes and captions in canvas pixels."""
        return self.augmented.scene


def encode_sample(
    planner: Planner,
    planned: PlannedSample,
    image: npt.NDArray[np.uint8] | None,
    weight: float = 1.0,
    key: SampleKey | None = None,
) -> Sample:
    """Encode a planned sample with its decoded image.

    Args:
        planner: What planned it.
        planned: The plan.
        image: uint8 (H, W, 3) RGB of the record's canvas. `None`: the record is a conversation.
        weight: Loss weight of its supervised tokens, times that of the data set.
        key: The key by which it was asked for.

    Raises:
        RecordError: As `render_sample`.
    """
    pixels = None if image is None else render_sample(planned, image)
    canvas = planned.result.scene.canvas
    prompt = planner.prompt_ids(planned)
    parts = planner.answer_parts(planned)
    text = "".join([part for part, _ in parts])
    answer = planner.encoder.answer_ids(text)
    ids = np.concatenate([prompt, answer])
    labels = np.concatenate([np.full(len(prompt), IGNORE_INDEX), answer])
    is_image = (ids == planner.encoder.image_pad_id).astype(np.int64)
    is_image[len(prompt) :] = 0
    kinds = np.where(is_image == 1, np.uint8(TokenKind.IMAGE), np.uint8(TokenKind.PROMPT))
    kinds[len(prompt) :] = planner.encoder.answer_kinds(parts, answer)
    grid = None if image is None else grid_thw(canvas)
    return Sample(
        input_ids=ids,
        labels=labels,
        mm_token_type_ids=is_image,
        position_ids=mrope_positions(is_image, [] if grid is None else [grid]),
        token_kinds=kinds,
        grid_thw=grid,
        dataset=planner.entry.name,
        sample_id=planned.record.name,
        weight=weight * planner.entry.loss_weight,
        planned_length=planned.length,
        answer=text,
        augmented=replace(planned.result, scene=replace(planned.result.scene, image=pixels)),
        objects=ObjectTokens.of(planned, planner.encoder.answer_objects(parts, answer)),
        key=None if image is None else key,
    )


def render_sample(planned: PlannedSample, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return what the model sees of a planned sample: uint8 (H, W, 3) RGB of its canvas.

    Args:
        planned: The plan.
        image: uint8 (H, W, 3) RGB of the record's canvas, or shrunk as the plan says.

    Raises:
        RecordError: The image is too long to be warped, or an op of a plugin maps it to nothing.
    """
    try:
        return render(image, planned.result.plan)
    except GeometryError as error:
        raise RecordError(f"{planned.record.name}: {error}") from None


def text_filler(planner: Planner) -> Sample:
    """Encode an empty answer without an image, at loss weight 0."""
    prompts = planner.profile.prompts
    prompt = planner.encoder.prompt_ids(prompts.system, prompts.dense, None)
    answer = planner.encoder.answer_ids("")
    kinds = np.zeros(len(prompt) + len(answer), np.int64)
    canvas = Canvas(1, 1)
    return Sample(
        input_ids=np.concatenate([prompt, answer]),
        labels=np.concatenate([np.full(len(prompt), IGNORE_INDEX), answer]),
        mm_token_type_ids=kinds,
        position_ids=mrope_positions(kinds, []),
        token_kinds=np.repeat(np.array([TokenKind.PROMPT, TokenKind.STRUCTURE], np.uint8), [len(prompt), len(answer)]),
        grid_thw=None,
        dataset=FILLER,
        sample_id=FILLER,
        weight=0.0,
        planned_length=len(kinds),
        answer="",
        augmented=Pipeline().plan(canvas, ShapeArray.empty(), generator(0)),
    )
