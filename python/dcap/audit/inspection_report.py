"""The report of ``dcap inspect`` in its three forms: terminal, page, JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from dcap.audit.epoch_counts import DatasetShare, EpochCounts
from dcap.audit.format_costs import FormatCost
from dcap.audit.token_runs import TokenRun
from dcap.data.tokens import TokenKind
from dcap.model.layer_cost import MemoryStep
from dcap.model.memory import MemoryEstimate
from dcap.model.towers import Tower, TowerCount, parameter_table, rate_words
from dcap.view.charts import Histogram, bar_lines
from dcap.view.page import render_template
from dcap.view.tables import Grid, print_grid

# Neighbours take turns, so that the bounds of tokens are seen.
_COLORS = {
    TokenKind.PROMPT: ("bright_black", "white"),
    TokenKind.IMAGE: ("magenta", "bright_magenta"),
    TokenKind.CAPTION: ("green", "bright_green"),
    TokenKind.COORDINATE: ("blue", "bright_blue"),
    TokenKind.STRUCTURE: ("yellow", "bright_yellow"),
}
_TOKENS_OF_FORMATS = (TokenKind.COORDINATE, TokenKind.STRUCTURE, TokenKind.CAPTION)
TEMPLATE = Path(__file__).with_name("templates") / "inspection.html"
ESTIMATE = (
    "an estimate, counted on the model without its weights (dcap/model/memory.py); compared with small models on a "
    "CPU, none of it with a GPU",
    "not in it: CUDA's own context, fragmentation, and with several devices the buckets of DDP, as large as the "
    "gradients",
)
ESTIMATE_OF_A_SHARE = (
    ESTIMATE[0],
    "weights that do not train and that do, gradients and moments are the part of one device",
    "not in it: CUDA's own context and fragmentation",
)


@dataclass(frozen=True, slots=True)
class ShownSample:
    """A sample that is shown token by token."""

    title: str
    runs: Sequence[TokenRun]


@dataclass(frozen=True, slots=True)
class EpochReport:
    """The size of an epoch."""

    name: str
    plans: EpochCounts
    shares: tuple[DatasetShare, ...]
    steps: int | None
    """Optimiser steps. `None`: it is validation."""
    curriculum_at_start: bool
    """Whether all samples were planned as at the start of the curriculum."""
    formats: tuple[FormatCost, ...] = ()
    """What an object costs in each answer format; empty without objects."""

    @property
    def histograms(self) -> dict[str, Histogram]:
        """Histograms of samples and rows, by title."""
        return self.plans.histograms()


@dataclass(frozen=True, slots=True)
class ModelReport:
    """The parts that train, and their memory."""

    counts: tuple[TowerCount, ...]
    rates: Mapping[Tower, float]
    lora_plus_ratio: float | None
    memory: MemoryEstimate
    heaviest: dict[str, int]
    """Tokens, patches and supervised tokens of the row that takes the most memory."""
    step: MemoryStep

    @property
    def notes(self) -> tuple[str, ...]:
        """What the memory holds and what it does not."""
        return ESTIMATE if self.step.num_shares == 1 else ESTIMATE_OF_A_SHARE


@dataclass(frozen=True, slots=True)
class TimeReport:
    """Length of a run."""

    steps: int
    epochs: float
    tokens: int
    tokens_per_s: float | None

    @property
    def hours(self) -> float | None:
        """Hours at the given rate."""
        return None if self.tokens_per_s is None else self.tokens / self.tokens_per_s / 3600


@dataclass(frozen=True, slots=True)
class InspectionReport:
    """An epoch, the parts that train, and the time. Validation has no model and no time."""

    samples: tuple[ShownSample, ...]
    epoch: EpochReport
    model: ModelReport | None
    time: TimeReport | None


def print_inspection(report: InspectionReport, console: Console) -> None:
    """Print the report: samples first, hours last."""
    if report.samples:
        console.print(_legend(), soft_wrap=True)
    for sample in report.samples:
        console.print(Text(f"\n{sample.title}", style="bold"), soft_wrap=True)
        for name, supervised in (("prompt", False), ("target, supervised", True)):
            console.print(Text(f"{name}:", style="italic"))
            console.print(_tokens([run for run in sample.runs if run.supervised == supervised]), soft_wrap=True)
    for grid in _epoch_grids(report.epoch):
        print_grid(grid, console)
    for title, histogram in report.epoch.histograms.items():
        console.print(Text(f"\n{title}: {histogram.summary()}"), soft_wrap=True)
        if len(histogram.counts) > 1:
            console.print(Text(bar_lines(histogram.chart(title))))
    if report.model is not None:
        console.print()
        console.print(parameter_table(report.model.counts, report.model.rates, report.model.lora_plus_ratio))
        print_grid(_memory_grid(report.model), console)
    if report.time is not None:
        print_grid(_time_grid(report.time), console)


def inspection_page(report: InspectionReport, title: str) -> str:
    """Return the report as a page.

    Args:
        report: What to show.
        title: Heading.
    """
    grids = [*_epoch_grids(report.epoch)]
    if report.model is not None:
        grids += [_tower_grid(report.model), _memory_grid(report.model)]
    if report.time is not None:
        grids.append(_time_grid(report.time))
    charts = [histogram.chart(title) for title, histogram in report.epoch.histograms.items()]
    return render_template(
        TEMPLATE,
        title=title,
        intro=report.epoch.name,
        samples=report.samples,
        kinds=list(TokenKind),
        grids=grids,
        charts=charts,
    )


def inspection_tree(report: InspectionReport) -> dict[str, Any]:
    """Return all numbers, ready for JSON."""
    epoch, plans = report.epoch, report.epoch.plans
    tree: dict[str, Any] = {
        "samples": [_sample_tree(sample) for sample in report.samples],
        "epoch": {
            "name": epoch.name,
            "samples": plans.population,
            "planned": len(plans.kinds),
            "left_out": plans.num_left_out,
            "rows": plans.num_rows,
            "steps": epoch.steps,
            "tokens": plans.num_tokens,
            "supervised_tokens": round(int(plans.supervised.sum()) * plans.scale),
            "fill": plans.fill if not plans.padded else None,
            "padding_share": plans.padding_share,
            "curriculum_at_start": epoch.curriculum_at_start,
        },
        "data_sets": [asdict(share) for share in epoch.shares],
        "formats": [_format_tree(each) for each in epoch.formats],
        "histograms": [{"title": title, **spread.to_dict()} for title, spread in epoch.histograms.items()],
    }
    if report.model is not None:
        model = report.model
        memory = {name: value for name, value in asdict(model.memory).items() if name not in ("weights", "row")}
        tree["towers"] = [asdict(count) | {"peak_lr": model.rates[count.tower]} for count in model.counts]
        tree["memory"] = {
            **asdict(model.memory.weights),
            **memory,
            "total": model.memory.total,
            "heaviest_row": model.heaviest,
            "device": "cuda" if model.step.cuda else "cpu",
            "num_shares": model.step.num_shares,
            "notes": list(model.notes),
        }
    if report.time is not None:
        tree["time"] = asdict(report.time) | {"hours": report.time.hours}
    return tree


def _format_tree(cost: FormatCost) -> dict[str, Any]:
    return {
        "name": cost.name,
        "used": cost.is_used,
        "objects": cost.num_objects,
        "tokens_per_object": cost.tokens,
        "by_token": {kind.name.lower(): value for kind, value in cost.by_token.items()},
        "by_shape": {kind.name.lower(): value for kind, value in cost.by_shape.items()},
    }


def _sample_tree(sample: ShownSample) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for run in sample.runs:
        counts[run.kind.name.lower()] += len(run.ids)
    supervised = sum(len(run.ids) for run in sample.runs if run.supervised)
    return {"title": sample.title, "tokens": sum(counts.values()), "supervised": supervised, "kinds": counts}


def _legend() -> Text:
    out = Text("tokens: ")
    for kind, (color, _) in _COLORS.items():
        out.append(kind.name.lower(), style=color).append("  ")
    return out.append("(· blank, ↵ newline, ⟦…⟧ several tokens as one)")


def _tokens(runs: Iterable[TokenRun]) -> Text:
    out = Text()
    for k, run in enumerate(runs):
        out.append(run.shown, style=_COLORS[run.kind][k % 2])
    return out


def _epoch_grids(epoch: EpochReport) -> list[Grid]:
    plans = epoch.plans
    rows = [
        ("samples", f"{plans.population:,}"),
        ("left out", f"{round(plans.num_left_out * plans.scale):,}"),
        ("tokens", f"{plans.num_tokens:,}"),
        ("rows", f"{plans.num_rows:,}"),
        ("padding", f"{plans.padding_share:.1%}"),
    ]
    if not plans.padded:
        rows.append(("fill of the rows", f"{plans.fill:.1%}"))
    if epoch.steps is not None:
        rows.append(("optimiser steps", f"{epoch.steps:,}"))
    notes = []
    if plans.scale > 1:
        notes.append(
            f"{len(plans.kinds):,} of {plans.population:,} samples were planned, drawn by chance; sums are scaled"
        )
    if epoch.curriculum_at_start:
        notes.append("samples are as augmentation.curriculum starts; without --max-plans, as their own step has them")
    shares = Grid(
        "data sets",
        ("data set", "samples", "tokens", "supervised", "loss weight", "of the loss"),
        tuple(
            (s.name, f"{s.samples:,}", f"{s.tokens:,}", f"{s.supervised:,}", f"{s.loss_weight:g}", f"{s.share:.1%}")
            for s in epoch.shares
        ),
    )
    grids = [Grid(epoch.name, ("", ""), tuple(rows), tuple(notes)), shares]
    return [*grids, _format_grid(epoch.formats)] if epoch.formats else grids


def _format_grid(formats: Sequence[FormatCost]) -> Grid:
    shapes = list(formats[0].by_shape)
    rows = tuple(
        (
            each.name,
            *(f"{value:.1f}" for value in (each.tokens, *(each.by_token[kind] for kind in _TOKENS_OF_FORMATS))),
            *(f"{each.by_shape[kind]:.1f}" for kind in shapes),
        )
        for each in formats
    )
    kinds = [*(kind.name.lower() for kind in _TOKENS_OF_FORMATS), *(f"of a {kind.name.lower()}" for kind in shapes)]
    used = " and ".join([each.name for each in formats if each.is_used])
    note = f"means of {formats[0].num_objects:,} objects; the config has data.answer.format: {used}"
    return Grid("tokens per object in each answer format", ("format", "tokens", *kinds), rows, (note,))


def _tower_grid(model: ModelReport) -> Grid:
    rows = tuple(
        (
            c.tower,
            f"{c.total:,}",
            f"{c.trainable:,}",
            rate_words(model.rates[c.tower], model.lora_plus_ratio) if c.trainable else "-",
        )
        for c in model.counts
    )
    return Grid("what trains", ("tower", "parameters", "trainable", "peak lr"), rows)


def _memory_grid(model: ModelReport) -> Grid:
    memory, weights = model.memory, model.memory.weights
    parts = (
        ("frozen weights", weights.frozen, "exact"),
        ("trained weights, float32", weights.trained, "exact"),
        ("gradients", weights.gradients, "exact"),
        ("AdamW's moments", weights.moments, "exact"),
        ("weights of the teacher", memory.teacher, "exact"),
        ("half-precision copies of trained weights", memory.casts, "estimate"),
        ("activations of the heaviest row", memory.activations, "estimate"),
        ("one layer computed again", memory.recomputed, "estimate"),
        ("gradients inside a layer", memory.working, "estimate"),
        ("logits of a chunk", memory.loss, "estimate"),
        ("patches", memory.patches, "estimate"),
        ("a weight of 4 bits, made anew", memory.made_anew, "estimate"),
        ("layers that are put together", memory.together, "estimate"),
        ("at the start: the whole model, alone", memory.start, "exact"),
        ("peak, all of it at once", memory.total, "estimate"),
    )
    rows = tuple((name, byte_size(value), how) for name, value, how in parts if value)
    row = model.heaviest
    heaviest = f"heaviest row: {row['tokens']:,} tokens, {row['patches']:,} patches, {row['supervised']:,} supervised"
    shares = model.step.num_shares
    title = "memory of one device" if shares == 1 else f"memory of one of {shares} devices that share the weights out"
    return Grid(title, ("", "size", ""), rows, (heaviest, *model.notes))


def _time_grid(time: TimeReport) -> Grid:
    rows = [("optimiser steps", f"{time.steps:,}"), ("epochs", f"{time.epochs:g}"), ("tokens", f"{time.tokens:,}")]
    if time.hours is None:
        return Grid("time", ("", ""), tuple(rows), ("for hours, give --tokens-per-s X or --run DIR",))
    rows += [("tokens per second", f"{time.tokens_per_s:,.0f}"), ("hours", f"{time.hours:,.2f}")]
    return Grid("time", ("", ""), tuple(rows), ("without validation, checkpoints and the start",))


def byte_size(number: int) -> str:
    """Return a number of bytes in a unit that suits it."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if number >= 1 << power:
            return f"{number / (1 << power):,.2f} {unit}"
    return f"{number} B"
