"""The results of the ablation as a table and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dcap.view.charts import CURVE_COLORS
from dcap.view.draw import Pixels
from dcap.view.fonts import load_font


@dataclass(frozen=True)
class Result:
    """The scores of one run on the test scenes."""

    arm: str
    seed: int
    f1: float
    """Of all objects, at an IoU (lines: agreement) of 0.5."""
    mean_f1: float
    """Of boxes and polygons, mean over IoU 0.50 to 0.95."""
    false_positives: float
    """Predicted objects that are not there, per scene."""
    names_right: float
    """Share of the predicted objects whose colour and kind one shape of the scene has."""
    sides_said: int
    """Their captions that name a side of the other shape."""
    sides_right: float
    """Share of these whose side is true."""
    parse_rate: float
    """Share of the answers that parse without a problem."""
    seconds: float

    @property
    def line(self) -> str:
        """The run in one line."""
        return (
            f"{self.arm:18s} seed {self.seed}: F1 {self.f1:.3f}, mean F1 {self.mean_f1:.3f}, false positives "
            f"{self.false_positives:.2f}, names {self.names_right:.3f}, sides {self.sides_right:.3f} of "
            f"{self.sides_said}, parsed {self.parse_rate:.2f}, {self.seconds:.0f} s"
        )


@dataclass(frozen=True)
class Measure:
    """A column of the table and a panel of the picture."""

    title: str
    of: Callable[[Result], float]
    most: float | None
    """Right end of its axis. `None`: the largest value."""


MEASURES = (
    Measure("F1 at 0.5", lambda result: result.f1, 1.0),
    Measure("mean F1", lambda result: result.mean_f1, 1.0),
    Measure("false positives per scene", lambda result: result.false_positives, None),
    Measure("sides that are right", lambda result: result.sides_right, 1.0),
)


def markdown(results: Sequence[Result], arms: Sequence[str]) -> str:
    """Return a row for each arm: the mean over its seeds, and in brackets the lowest and the highest."""
    lines = [
        f"| augmentation | {' | '.join(measure.title for measure in MEASURES)} |",
        f"|---{'|---' * len(MEASURES)}|",
    ]
    for arm in arms:
        values = [[measure.of(result) for result in results if result.arm == arm] for measure in MEASURES]
        cells = [f"{np.mean(own):.2f} ({min(own):.2f} to {max(own):.2f})" for own in values]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_WIDE, _SMOOTH = 900, 3
_NAMES, _PANEL, _GAP = 130, 160, 28
_TOP, _ROW = 34, 30
_PAPER, _INK, _RULE = "#fafaf8", "#1e1e1e", "#c8c8c8"


def draw_results(results: Sequence[Result], arms: Sequence[str]) -> Pixels:
    """Return a picture with a panel for each measure: a dot for each seed, a bar for their mean.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    high = _TOP + _ROW * len(arms) + 26
    picture = Image.new("RGB", (_WIDE * _SMOOTH, high * _SMOOTH), _PAPER)
    draw, font = ImageDraw.Draw(picture), load_font(12 * _SMOOTH)

    def text(x: float, y: float, words: str, anchor: str) -> None:
        draw.text((x * _SMOOTH, y * _SMOOTH), words, _INK, font, anchor=anchor)

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return left * _SMOOTH, top * _SMOOTH, right * _SMOOTH, bottom * _SMOOTH

    for row, arm in enumerate(arms):
        text(_NAMES, _TOP + _ROW * (row + 0.5), arm, "rm")
    for column, measure in enumerate(MEASURES):
        left = _NAMES + 14 + column * (_PANEL + _GAP)
        most = measure.most or max(map(measure.of, results)) * 1.1 or 1.0
        text(left + _PANEL / 2, 16, measure.title, "mm")
        for share in (0.0, 0.5, 1.0):
            x = left + _PANEL * share
            draw.line(box(x, _TOP, x, high - 26), _RULE, _SMOOTH)
            text(x, high - 14, f"{share * most:.2g}", "mm")
        for row, arm in enumerate(arms):
            own = [_PANEL * measure.of(result) / most for result in results if result.arm == arm]
            y = _TOP + _ROW * (row + 0.5)
            draw.rectangle(box(left, y - 6, left + float(np.mean(own)), y + 6), CURVE_COLORS[0])
            for value in own:
                draw.ellipse(box(left + value - 3.5, y - 3.5, left + value + 3.5, y + 3.5), CURVE_COLORS[1], _INK)
    return np.array(picture.resize((_WIDE, high), Image.Resampling.LANCZOS))
