"""The checks of each sample that training sees: one small function per check, all in one list.

To add a check, write a function from an `AuditedSample` to its findings, and add it to `SAMPLE_CHECKS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dcap.answers.codec import parse, to_answer
from dcap.audit.duplicates import same_objects
from dcap.core.errors import DcapError
from dcap.core.words import show
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import END, num_image_tokens
from dcap.data.planning import PlannedSample, Planner
from dcap.geometry.shapes import MIN_POINTS, GeometryKind, ShapeArray
from dcap.records.images import check_header, decode_image, find_darkness
from dcap.records.record import Record, has_fractions, image_source


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a check found in a sample."""

    text: str
    """The rule that does not hold, without the name of the sample."""
    fails: bool = True
    """False: the config allows it, or it is only worth a look."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a check counted in a sample; no finding."""

    counts: Mapping[str, int]
    """By the name of what is counted."""


class AuditedSample:
    """One sample of an epoch without its pixels. Each part is made when a check asks for it.

    Args:
        dataset: Read with ``on_bad_record: skip``.
        index: Which record.
        epoch: Epoch, from 0.
        skips: Whether the run leaves out bad samples. They are no failure then.
        decode: Whether images are decoded. False: only their headers are read.
        encode: Whether this sample is among those that are tokenised.
        draw: Number of samples of the same record that the epoch takes before this one.
    """

    def __init__(
        self,
        dataset: DenseCaptionDataset,
        index: int,
        epoch: int,
        *,
        skips: bool,
        decode: bool,
        encode: bool,
        draw: int = 0,
    ) -> None:
        self.dataset, self.index, self.epoch, self.draw = dataset, index, epoch, draw
        self.skips, self.decode, self.encode = skips, decode, encode

    @cached_property
    def record(self) -> Record | DcapError:
        """The record after the preprocessors, or the error that they raised."""
        try:
            return self.dataset.records[self.index]
        except DcapError as error:
            return error

    @cached_property
    def planned(self) -> PlannedSample | DcapError | None:
        """The plan, or the reason why there is none. `None`: there is no record."""
        if isinstance(self.record, DcapError):
            return None
        try:
            return self.planner.plan(self.record, self.epoch, self.index, draw=self.draw)
        except DcapError as error:
            return error

    @property
    def ruled(self) -> PlannedSample | None:
        """The plan of a sample that training sees, with all rules that keep words true, whatever the config has."""
        trained, pipeline = self.trained, self.planner.pipeline
        if trained is None or not pipeline.stages:
            return None
        words = pipeline.config.words.with_all_rules()
        if words == pipeline.config.words:
            return trained
        ruled = replace(pipeline, config=replace(pipeline.config, words=words))
        try:
            planned = replace(self.planner, pipeline=ruled).plan(trained.record, self.epoch, self.index, draw=self.draw)
        except DcapError:
            return None
        return planned

    @property
    def planner(self) -> Planner:
        """The planner of its data set."""
        return self.dataset.planner_of(self.index)

    @property
    def trained(self) -> PlannedSample | None:
        """The plan of a sample that training sees: it exists and fits. `None`: training does not see the sample."""
        return self.planned if isinstance(self.planned, PlannedSample) and self.planned.fits else None

    @cached_property
    def text(self) -> str:
        """The supervised text of a sample that training sees."""
        assert self.trained is not None
        return self.planner.answer_text(self.trained)


Check = Callable[[AuditedSample], Iterable[Found | Tally] | None]
"""A check of a sample. It returns its findings: an empty list if all is well, `None` if the check does not apply."""


def preprocessors(sample: AuditedSample) -> list[Found] | None:
    """Preprocessors give the same record each time, and a legal one."""
    if not sample.dataset.records.chain.steps:
        return None
    if isinstance(sample.record, DcapError):
        return [Found(str(sample.record))]
    if sample.dataset.records[sample.index] != sample.record:
        return [Found("preprocessors must give the same record each time")]
    return []


def shapes(sample: AuditedSample) -> list[Found] | None:
    """Shapes of the record are inside its image and legal, and captions are not empty."""
    if isinstance(sample.record, DcapError):
        return None
    record = sample.record
    found = illegal(record.shapes, record.canvas.width, record.canvas.height)
    found += [f"objects[{i}].desc must not be empty" for i, text in enumerate(record.captions) if not text.strip()]
    return [Found(text) for text in found]


def objects(sample: AuditedSample) -> list[Found] | None:
    """No two objects have the same caption and points; a note."""
    if isinstance(sample.record, DcapError):
        return None
    text = "objects[{}] has the caption and the points of objects[{}]"
    return [Found(text.format(*pair), fails=False) for pair in same_objects(sample.record)]


def pixels(sample: AuditedSample) -> list[Found] | None:
    """Not all coordinates are at most 1, as fractions of the image's sides are; a note."""
    if isinstance(sample.record, DcapError):
        return None
    text = "all coordinates are at most 1; coordinates must be pixels, and these may be fractions of the image's sides"
    return [Found(text, fails=False)] if has_fractions(sample.record) else []


def images(sample: AuditedSample) -> list[Found] | None:
    """The image decodes to the size that its record gives, and is not nearly black for want of bits (a note)."""
    if isinstance(sample.record, DcapError):
        return None
    data, record = sample.dataset.data, sample.record
    try:
        source = image_source(record, data.root)
        if not sample.decode:
            check_header(source, record.canvas, data.max_image_pixels)
            return []
        image = decode_image(source, record.canvas, data.max_image_pixels, sixteen_bit=data.sixteen_bit)
        dark = find_darkness(image, source)
    except DcapError as error:
        return [Found(str(error), fails=not sample.skips)]
    return [] if dark is None else [Found(f"image {dark}", fails=False)]


def plans(sample: AuditedSample) -> list[Found] | None:
    """The sample can be planned, and fits ``data.global_max_length`` or is left out as ``data.overlong`` says."""
    planned, limit = sample.planned, sample.dataset.data.global_max_length
    if planned is None:
        return None
    if isinstance(planned, DcapError):
        return [Found(str(planned), fails=not sample.skips)]
    if planned.fits != (planned.length <= limit):
        return [Found(f"fits must say whether {planned.length} tokens are at most {limit}, not {planned.fits}")]
    fitted = ", ".join(f"{name.replace('_', ' ')}: {n}" for name, n in planned.result.telemetry.fitted.items())
    if fitted:
        return [Found(f"is made to fit ({fitted})", fails=False)]
    return [] if planned.fits else [Found(f"is left out: {planned.length} tokens are more than {limit}", fails=False)]


def canvases(sample: AuditedSample) -> list[Found] | None:
    """The canvas has sides that are multiples of 32 pixels, and every shape is inside it."""
    if sample.trained is None:
        return None
    scene = sample.trained.result.scene
    width, height = scene.canvas.width, scene.canvas.height
    cells = [] if width % 32 == height % 32 == 0 else [Found(f"canvas must have sides of 32 n, not {width} x {height}")]
    return cells + [Found(text) for text in illegal(scene.shapes, width, height)]


def answers(sample: AuditedSample) -> list[Found] | None:
    """The supervised text, read strictly, gives back the very objects on the grid."""
    planned = sample.trained
    if planned is None:
        return None
    if planned.mode == "summary":
        wanted_text = planned.result.scene.summary
        return [] if sample.text == wanted_text else [Found("answer must be the summary, as augmentation made it")]
    scene, profile = planned.result.scene, sample.planner.profile.answer
    wanted, read = to_answer(scene.shapes, scene.captions, scene.canvas, profile), parse(sample.text, profile)
    same = {"shapes": read.shapes == wanted.shapes, "captions": read.captions == wanted.captions}
    return [Found(f"answer must read back to the {name} that were written") for name in same if not same[name]]


def supervised(sample: AuditedSample) -> list[Found] | None:
    """The answer has a token besides its end."""
    if sample.trained is None:
        return None
    if sample.text.strip() and sample.trained.num_answer_tokens > 1:
        return []
    return [Found(f"answer must have at least one token, not {sample.text!r}")]


def tokens(sample: AuditedSample) -> list[Found] | None:
    """The planned token count is the tokenizer's own, placeholders fit the image, no caption makes a control token."""
    planned = sample.trained
    if planned is None or not sample.encode:
        return None
    planner = sample.planner
    prompt, answer = planner.prompt_ids(planned), planner.encoder.answer_ids(sample.text)
    found = []
    for name, real, promised in (
        ("prompt", len(prompt), planned.num_prompt_tokens),
        ("answer", len(answer), planned.num_answer_tokens),
    ):
        if real != promised:
            found.append(Found(f"{name} must have the {promised} tokens of its plan, not {real}"))
    placeholders = int((prompt == planner.encoder.image_pad_id).sum())
    wanted = num_image_tokens(planned.result.scene.canvas)
    if placeholders != wanted:
        found.append(Found(f"prompt must have {wanted} image placeholders, not {placeholders}"))
    control = control_ids(sample.dataset)
    written = answer[len(planner.encoder.reasoning_end) : -1]
    if control.intersection(written.tolist()) or answer[-1] != planner.encoder.tokenizer.convert_tokens_to_ids(END):
        found.append(Found(f"answer must end with {END} and hold no other control token"))
    return found


def words(sample: AuditedSample) -> list[Found | Tally] | None:
    """Words of sides and colours stay true under augmentation; a note where ``augmentation.words`` switches that off.

    The words that a pipeline without these rules would make false are counted.
    """
    ruled = sample.ruled
    if ruled is None or sample.trained is None:
        return None
    met, kept = (
        Counter(told.word_swaps) + Counter(told.word_skips)
        for told in (ruled.result.telemetry, sample.trained.result.telemetry)
    )
    false = [word for word in met if word not in kept]
    text = f"{', '.join(map(show, false))} may be false after augmentation: augmentation.words keeps it"
    tallies: list[Found | Tally] = [Tally(met)] if met else []
    return [*tallies, Found(text, fails=False)] if false else tallies


RECORD_CHECKS: tuple[Check, ...] = (preprocessors, shapes, objects, pixels, images)
"""Checks of the record: run on the first sample of each record only."""
SAMPLE_CHECKS: tuple[Check, ...] = (*RECORD_CHECKS, plans, canvases, words, answers, supervised, tokens)
"""In the order in which they are shown. The first line of each docstring says what must hold."""


def control_ids(dataset: DenseCaptionDataset) -> frozenset[int]:
    """Return the ids of the tokenizer's control tokens."""
    return frozenset(dataset.planners[0].encoder.tokenizer.backend_tokenizer.get_added_tokens_decoder())


def illegal(found: ShapeArray, width: float, height: float) -> list[str]:
    """Return the problems of shapes that must be inside an image, one line for each wrong shape.

    Args:
        found: Shapes in pixels of the image.
        width: Of the image.
        height: Of the image.
    """
    wrong = []
    for i, (kind, points) in enumerate(found):
        if not np.isfinite(points).all() or (points < 0).any() or (points > (width, height)).any():
            wrong.append(f"objects[{i}] must lie inside the image ({width} x {height})")
        elif len(points) < MIN_POINTS[kind]:
            wrong.append(f"objects[{i}] must have at least {MIN_POINTS[kind]} points, not {len(points)}")
        elif kind == GeometryKind.BOX and not (points[0] < points[1]).all():
            wrong.append(f"objects[{i}] must have x1 < x2 and y1 < y2, not {points.ravel().tolist()}")
    return wrong
