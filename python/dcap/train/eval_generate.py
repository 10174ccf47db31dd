"""Validation by answers: the model answers validation samples, and the answers are scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import gather_object

from dcap.core.errors import ConfigError, ImageError
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import IGNORE_INDEX
from dcap.data.epoch import EpochPlan
from dcap.data.found_objects import find_objects
from dcap.data.sample import Sample
from dcap.evaluate.counting import Side, count_image
from dcap.evaluate.metrics import Scores
from dcap.model.attention import attending_with_cache
from dcap.model.generation import Generated, Generator, Prompt
from dcap.model.lora import bare_model
from dcap.train.config import EvalGenerateConfig
from dcap.train.step import Learner, on_some_rank

_GROUP = 4
"""Samples that are in memory at a time, as a multiple of the batch size."""


def samples_to_answer(
    dataset: DenseCaptionDataset, plan: EpochPlan, config: EvalGenerateConfig
) -> npt.NDArray[np.int64]:
    """Return the validation records to answer, int64 (n,), spread evenly over those whose objects are asked for.

    Args:
        dataset: The validation samples.
        plan: Which of them fit.
        config: How many are wanted.

    Raises:
        ConfigError: No sample asks for objects.
    """
    kept = plan.samples.index[np.unique(np.concatenate(plan.rows))]
    dense = [k for k in kept.tolist() if _asks_for_objects(dataset, k)]
    if not dense:
        raise ConfigError(
            "training.eval_generate must be null where no validation sample asks for objects: data.mode is summary"
        )
    count = min(config.samples, len(dense))
    return np.array(dense, np.int64)[np.arange(count) * len(dense) // count]


def _asks_for_objects(dataset: DenseCaptionDataset, index: int) -> bool:
    planner = dataset.planner_of(index)
    if planner.entry.text:
        return False
    if planner.config.mode != "mixed":
        return planner.config.mode == "dense"
    return planner.mode(dataset.records[index], 0, index) == "dense"


def validate_by_answers(
    learner: Learner,
    dataset: DenseCaptionDataset,
    chosen: Sequence[int] | npt.NDArray[np.int64],
    config: EvalGenerateConfig,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Return ``eval/f1`` and the other scores of greedy answers, and the time that this rank took.

    Ranks share the samples; the scores are the same on all of them.

    Weights, random states and training mode of the next step stay as they are.

    Args:
        learner: Model and ranks.
        dataset: The validation samples.
        chosen: From `samples_to_answer`.
        config: Bounds of answers and batches.
        stop: Tells whether this rank was asked to stop; asked before each group of batches. When some rank was, all of
            them stop and return `None`.

    Raises:
        RecordError: A sample cannot be made, as its image is bad and ``data.on_bad_record`` is ``error``.
    """
    begin, accelerator, module = time.perf_counter(), learner.accelerator, learner.bare_module
    module.eval()
    model = bare_model(module.model)
    generator = Generator(model, dataset.planners[0].encoder.tokenizer, config.max_new_tokens)
    group = _GROUP * config.batch_size * accelerator.num_processes
    scores = Scores()
    half = torch.autocast(accelerator.device.type, dtype=module.dtype, enabled=module.dtype != torch.float32)
    with attending_with_cache(model), half:
        for start in range(0, len(chosen), group):
            if on_some_rank(accelerator, stop()):
                return None
            mine = chosen[start : start + group][accelerator.process_index :: accelerator.num_processes]
            samples = _samples(dataset, mine)
            answers = generator.generate([_prompt(sample) for _, sample in samples], batch_size=config.batch_size)
            for (index, sample), answer in zip(samples, answers, strict=True):
                scores += _scored(dataset, index, sample, answer)
    tokens = sum(gather_object([generator.counts.tokens]))
    return _metrics(sum(gather_object([scores]), Scores()), tokens) | {"eval/generate_s": time.perf_counter() - begin}


def _samples(dataset: DenseCaptionDataset, chosen: Sequence[int] | npt.NDArray[np.int64]) -> list[tuple[int, Sample]]:
    """Return samples with their indices. Validation has told of bad images that are skipped."""
    found = []
    for index in map(int, chosen):
        try:
            found.append((index, dataset[index]))
        except ImageError:
            if dataset.data.on_bad_record == "error":
                raise
    return found


def _prompt(sample: Sample) -> Prompt:
    """Return the question of a sample: all of it before its answer."""
    length = int(np.argmax(sample.labels != IGNORE_INDEX))
    return Prompt(sample.input_ids[:length], sample.pixel_values, sample.grid_thw)


def _scored(dataset: DenseCaptionDataset, index: int, sample: Sample, answer: Generated) -> Scores:
    """Return the counts of one answer, against the objects of the record."""
    record, planner, scene = dataset.records[index], dataset.planner_of(index), sample.scene
    truth, extent = Side(record.shapes, record.captions), record.canvas
    if record.window is not None:  # the objects of the tile, as the model sees them
        truth, extent = Side(scene.shapes, scene.captions), scene.canvas
    found = find_objects(
        answer.text, planner.profile.answer, scene.canvas, extent, reasoning=planner.encoder.opens_reasoning
    )
    counted = count_image(truth, Side(found.shapes, found.captions))
    return replace(counted.scores, clean_answers=int(answer.finished and not found.problems))


def _metrics(scores: Scores, num_tokens: int) -> dict[str, float]:
    predicted, answers = scores.pred_regions + scores.pred_lines, max(scores.answers, 1)
    return {
        "eval/f1": scores.objects.f1,
        "eval/f1_75": scores.regions(0.75).f1,
        "eval/parse_rate": scores.clean_answers / answers,
        "eval/repeats": scores.duplicates / predicted if predicted else 0.0,
        "eval/answer_tokens": num_tokens / answers,
    }
