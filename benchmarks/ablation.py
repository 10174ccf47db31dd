"""Do exact labels and true words make a better model? ``python benchmarks/ablation.py runs/ablation``

Five ways to augment a few training scenes, which differ in their labels. Steps, scenes and the order of the samples are
the same, and three seeds each. The scenes have shapes and grounds that the model does not know, and captions that name
a side: "red star left of the blue line". The test scenes are many, and never augmented.

Each run has a folder with its score, so that a command that was killed goes on where it was. At the end the folder has
``table.md`` and ``plot.png``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablation_report import Result, draw_results, markdown
from dcap.answers.prediction import Prediction
from dcap.answers.profile import AnswerProfile
from dcap.answers.prompts import PromptConfig
from dcap.augment.fit import fit_canvas
from dcap.augment.pipeline import Pipeline
from dcap.core.files import write_whole
from dcap.core.random import generator
from dcap.data.collate import PackingCollator
from dcap.data.config import DataConfig
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import IGNORE_INDEX
from dcap.data.found_objects import find_objects
from dcap.demo.relations import name_of, relation_captions
from dcap.demo.scenes import SceneOptions
from dcap.evaluate.evaluation import score
from dcap.evaluate.metrics import THRESHOLDS, ScoreOptions
from dcap.infer.source import find_source
from dcap.model.attention import attending_with_cache
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.generation import Generator, Prompt
from dcap.model.load import load_model
from dcap.model.lora import attach
from dcap.records.record import Record
from dcap.train.config import TrainingConfig
from dcap.train.loss import SupervisedLoss, model_inputs
from dcap.train.optimizer import build_optimizer, lr_factor, set_learning_rates
from dcap.view.sheet import write_png
from other_labels import OtherLabels, as_by_hand, as_in_the_file

ONE = SceneOptions(
    kinds=("box", "arrow", "line"), grounds=("dark",), max_objects=1, least_radius=0.14, largest_radius=0.38
)
TWO = replace(ONE, min_objects=2, max_objects=2, largest_radius=0.28, relations="left_right")
"""Half of the scenes have one shape, and half two, whose captions name a side. The model knows no arrows, no sides."""
ANSWER = AnswerProfile(
    format="rows", emit_norm="norm100", object_order="xy", min_pixels=16_384, max_pixels=16_384,
    prompts=PromptConfig(dense="List."),
)  # fmt: skip
"""How a model answers that has no answer profile."""
SCORES = ScoreOptions(line_tolerance_px=4.0)
"""A thirty-second of the images, as of those for which the default is made."""
COLOR = {"name": "color_jitter", "params": {"brightness": 0.2, "contrast": 0.2}}
OPS = [
    {"name": "hflip", "prob": 0.5},
    {"name": "rotate", "prob": 0.5, "params": {"max_deg": 20}},
    {"name": "random_crop", "prob": 0.5, "params": {"scale": [0.5, 1.0], "min_coverage": 0.3}},
    COLOR,
]
MILD_OPS = [
    {"name": "rotate", "prob": 0.5, "params": {"max_deg": 5}},
    {"name": "random_crop", "prob": 0.5, "params": {"scale": [0.8, 1.0], "min_objects": 0}},
    COLOR,
]
"""What trainers do to images alone: nobody mirrors an image and leaves its boxes."""
NO_RULES = {"mirror": "keep", "colour": "keep", "readable_text": "never"}

PIPELINES: Mapping[str, Pipeline] = {
    "none": Pipeline(),
    "image alone": replace(OtherLabels.from_config({"ops": MILD_OPS, "words": NO_RULES}), relabel=as_in_the_file),
    "labels by hand": replace(OtherLabels.from_config({"ops": OPS, "words": NO_RULES}), relabel=as_by_hand),
    "exact": Pipeline.from_config({"ops": OPS, "words": NO_RULES}),
    "exact, true words": Pipeline.from_config({"ops": OPS}),
}
"""The augmentation of each arm."""

_ORDER, _TEST = 1, 1_000_000
"""A purpose of random numbers, and the seed of the test scenes."""
_AT_A_TIME = 128
"""Answers that are written side by side: the model is small."""


@dataclass(frozen=True)
class Settings:
    """What all runs of a folder share."""

    model: str
    train_scenes: int
    test_scenes: int
    steps: int
    batch: int
    learning_rate: float
    max_new_tokens: int

    @cached_property
    def answer(self) -> AnswerProfile:
        """How the model answers."""
        source = find_source(self.model, None, is_asked=False)
        return source.profile.answer if source.has_profile else ANSWER

    def dataset(self, seed: int | None, arm: str = "none") -> DenseCaptionDataset:
        """Return the training scenes of a seed, augmented as an arm does; without a seed, the test scenes."""
        split = "val" if seed is None else "train"
        count, scenes = (self.test_scenes, _TEST) if seed is None else (self.train_scenes, seed)
        names = [replace(kind, num=count // 2, seed=scenes).name for kind in (ONE, TWO)]
        data = DataConfig(
            **{split: tuple(names)},
            answer=self.answer, global_max_length=4096, num_workers=0, check_images=False,
        )  # fmt: skip
        made = DenseCaptionDataset(data, split, self.model, seed=seed or 0)
        if seed is not None:
            made.planners = tuple(replace(planner, pipeline=PIPELINES[arm]) for planner in made.planners)
        return made


def rows(dataset: DenseCaptionDataset, settings: Settings, seed: int) -> Iterator[Any]:
    """Yield the row of each step: the same scenes in the same order, however they are augmented."""
    count, collate = len(dataset), PackingCollator()
    batch = min(settings.batch, count)
    epoch, left = 0, []
    for _ in range(settings.steps):
        if len(left) < batch:
            left = generator(seed, epoch, _ORDER).permutation(count).tolist()
            epoch += 1
        chosen, left = left[:batch], left[batch:]
        yield collate([dataset[epoch, index] for index in chosen])


def trained(settings: Settings, seed: int, arm: str) -> Any:
    """Return the model, trained in full on the scenes of a seed, augmented as an arm does."""
    torch.manual_seed(seed)
    config = ModelConfig(settings.model, dtype="float32", freeze_vit=False, adapter=AdapterConfig(type="full"))
    device = torch.device("cpu")
    loss = SupervisedLoss(attach(load_model(config, device), config)).train()
    training = TrainingConfig(output_dir="", learning_rate=settings.learning_rate, warmup_ratio=0.05)
    optimizer = build_optimizer(loss.model, training)
    dataset = settings.dataset(seed, arm)
    for step, row in enumerate(rows(dataset, settings, seed), start=1):
        set_learning_rates(optimizer, lr_factor(step, settings.steps, training))
        loss(**model_inputs(row, device)).loss.backward()
        torch.nn.utils.clip_grad_norm_(loss.parameters(), training.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    return loss.model.eval()


@dataclass(frozen=True)
class Test:
    """The test scenes, and the questions about them: the same for all runs."""

    dataset: DenseCaptionDataset
    prompts: Sequence[Prompt]

    @classmethod
    def of(cls, settings: Settings) -> Test:
        """Return those of some settings."""
        dataset = settings.dataset(None)
        samples = [dataset[0, index] for index in range(len(dataset))]
        ends = [int(np.argmax(sample.labels != IGNORE_INDEX)) for sample in samples]
        pairs = zip(samples, ends, strict=True)
        return cls(dataset, [Prompt(each.input_ids[:end], each.pixel_values, each.grid_thw) for each, end in pairs])

    @property
    def records(self) -> list[Record]:
        """The scenes."""
        return [self.dataset.records[index] for index in range(len(self.dataset))]


def answers(model: Any, test: Test, settings: Settings) -> list[Prediction]:
    """Return what the model finds in the test scenes."""
    writer = Generator(model, test.dataset.planners[0].encoder.tokenizer, settings.max_new_tokens)
    with attending_with_cache(model):
        texts = writer.generate(test.prompts, batch_size=_AT_A_TIME)
    found = []
    for record, answer in zip(test.records, texts, strict=True):
        seen = fit_canvas(record.canvas, settings.answer.min_pixels, settings.answer.max_pixels)
        objects = find_objects(answer.text, settings.answer, seen, record.canvas, reasoning=False)
        found.append(
            Prediction(
                image=record.image,
                canvas=record.canvas,
                shapes=objects.shapes,
                captions=objects.captions,
                text=answer.text,
                problems=objects.problems,
                finish=answer.finish,
                source=record.origin,
            )
        )
    return found


def side_is_right(record: Record, index: int, caption: str) -> bool | None:
    """Whether the side that a caption names is that of the shapes, by the captions that the scenes make anew.

    Args:
        record: The scene.
        index: The object that the caption is about.
        caption: What the model says of it.

    Returns:
        `None`: the caption names no side, or none of exactly one other object of the scene.
    """
    mirrored = re.sub(r"\b(left|right)\b", lambda side: {"left": "right", "right": "left"}[side[0]], caption)
    anew = [
        relation_captions(record.shapes, [*record.captions[:index], said, *record.captions[index + 1 :]])[index]
        for said in (caption, mirrored)
    ]
    return anew[0] == caption if anew[0] == anew[1] and caption != mirrored else None


def result_of(arm: str, seed: int, records: Sequence[Record], found: Sequence[Prediction], seconds: float) -> Result:
    """Return the scores of a run.

    Args:
        arm: Its arm.
        seed: Its seed.
        records: The test scenes.
        found: What the model found in each.
        seconds: How long training and answers took.
    """
    scores = score(records, found, SCORES)
    sides: list[bool] = []
    named = 0
    for record, answer in zip(records, found, strict=True):
        names = list(map(name_of, record.captions))
        for caption in answer.captions:
            if names.count(name_of(caption)) == 1:  # found or not: a side needs no place
                named += 1
                side = side_is_right(record, names.index(name_of(caption)), caption)
                sides += [] if side is None else [side]
    objects = scores.objects
    return Result(
        arm=arm,
        seed=seed,
        f1=objects.f1,
        mean_f1=float(np.mean([scores.regions(iou).f1 for iou in THRESHOLDS])),
        false_positives=(objects.pred - objects.found_pred) / scores.images,
        names_right=named / max(int(objects.pred), 1),
        sides_said=len(sides),
        sides_right=sum(sides) / max(len(sides), 1),
        parse_rate=scores.clean_answers / scores.images,
        seconds=seconds,
    )


def run(settings: Settings, test: Test, folder: Path, arm: str, seed: int) -> Result:
    """Return the score of one run, from its folder if it has been there."""
    place = folder / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}"
    if (place / "result.json").is_file():
        return Result(**json.loads((place / "result.json").read_text("utf-8")))
    begin = time.perf_counter()
    model = trained(settings, seed, arm)
    found = answers(model, test, settings)
    result = result_of(arm, seed, test.records, found, time.perf_counter() - begin)
    place.mkdir(parents=True, exist_ok=True)
    write_whole(place / "predictions.jsonl", b"".join(prediction.to_line() for prediction in found))
    write_whole(place / "result.json", json.dumps(asdict(result), indent=2) + "\n")
    return result


def settled(folder: Path, settings: Settings) -> None:
    """Note the settings of a folder, or refuse to add runs of other ones."""
    # A folder of other weights may have the same name.
    weights = find_source(settings.model, None, is_asked=False).fingerprint()["model"]
    path, wanted = folder / "settings.json", json.dumps({**asdict(settings), "weights": weights}, indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.read_text("utf-8") != wanted:
        sys.exit(f"{folder} must hold runs of these settings, not of those in {path}. Name another folder")
    write_whole(path, wanted)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, help="where runs, table and plot go")
    parser.add_argument("--model", default="builtin:scenes-micro", help="what each run begins with (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each arm (%(default)s)")
    for name, default, text in (
        ("train-scenes", 96, "scenes of each run"),
        ("test-scenes", 400, "scenes that are asked for"),
        ("steps", 150, "optimiser steps of each run"),
        ("batch", 8, "scenes of a step"),
        ("max-new-tokens", 200, "longest answer"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, metavar="RATE", help="peak (%(default)s)")
    given = vars(parser.parse_args(arguments))
    folder, seeds = given.pop("folder"), given.pop("seeds")
    settings = Settings(**given)
    settled(folder, settings)
    torch.set_num_threads(1)
    test, results = Test.of(settings), []
    for seed in range(1, seeds + 1):
        for arm in PIPELINES:
            results.append(run(settings, test, folder, arm, seed))
            print(results[-1].line, flush=True)
    table = markdown(results, tuple(PIPELINES))
    write_whole(folder / "table.md", table)
    write_png(folder / "plot.png", draw_results(results, tuple(PIPELINES)))
    print(f"\n{table}\n{folder / 'plot.png'}")


if __name__ == "__main__":
    main()
