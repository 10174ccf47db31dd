"""Telemetry: what was kept, dropped and skipped, and why; for one sample and summed over many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Counts and reasons of one augmented sample.

    Args:
        num_objects: Objects that came in.
        dropped: Reason for each dropped input object, by its index.
        applied: Names of the ops that acted, in order.
        skipped: Name and reason of each op that was drawn but did not act, in order. An op may occur twice.
        padding_share: Share of the final canvas that shows no source pixel, 0..1.
        bypassed: Whether the sample was not augmented at all.
        num_pasted: Shapes in the result that are copies.
        curriculum: Each number that the curriculum changes, by name, with its value for this sample.
        word_swaps: How often each word of direction became another one, by the word in the source.
        word_skips: How many ops did not act because of a word, by the word; ``quoted text`` and ``summary`` stand for
            those.
        fitted: Changes that made the sample fit a row: ``dropped_objects`` with their number, or ``shrunk_image`` with
            1.
    """

    num_objects: int
    dropped: Mapping[int, str]
    applied: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    padding_share: float
    bypassed: bool
    num_pasted: int = 0
    curriculum: Mapping[str, float] = field(default_factory=dict)
    fitted: Mapping[str, int] = field(default_factory=dict)
    word_swaps: Mapping[str, int] = field(default_factory=dict)
    word_skips: Mapping[str, int] = field(default_factory=dict)

    @property
    def num_kept(self) -> int:
        """Number of input objects that are still visible, at least in part."""
        return self.num_objects - len(self.dropped)

    def tally(self, num_pixels: int) -> dict[str, float]:
        """Return numbers that can be summed over samples. `averages` reads the sums.

        Args:
            num_pixels: Area of the final canvas.
        """
        counts = Counter([f"applied/{name}" for name in self.applied] + [f"skipped/{name}" for name, _ in self.skipped])
        return {
            "samples": 1,
            "bypassed": self.bypassed,
            "objects": self.num_objects,
            "kept": self.num_kept,
            "pasted": self.num_pasted,
            "padding": self.padding_share,
            "pixels": num_pixels,
            "curriculum": bool(self.curriculum),
            **counts,
            **{f"curriculum/{name}": value for name, value in self.curriculum.items()},
            **{f"fitted/{name}": value for name, value in self.fitted.items()},
            **{f"word_swaps/{word.replace(' ', '_')}": count for word, count in self.word_swaps.items()},
            **{f"word_skips/{word.replace(' ', '_')}": count for word, count in self.word_skips.items()},
        }


def averages(sums: Mapping[str, float]) -> dict[str, float]:
    """Return the averages that follow from sums of `Telemetry.tally`.

    ``kept_share`` is per object. All others are per sample: ``bypassed_share``, ``padding_share``, ``objects``,
    ``pasted`` copies, ``megapixels``, how often each op acted (``applied/rotate``) or did not (``skipped/rotate``), and
    changes to fit rows (``fitted/dropped_objects``), words that were changed (``word_swaps/left``) or that kept an op
    from acting (``word_skips/red``). The numbers of the curriculum (``curriculum/rotate.max_deg``) are per sample that
    follows it.
    """
    samples = max(sums.get("samples", 0), 1)
    per_sample = {
        name: value / (sums["curriculum"] if name.startswith("curriculum/") else samples)
        for name, value in sums.items()
        if "/" in name
    }
    return {
        "kept_share": sums.get("kept", 0) / max(sums.get("objects", 0), 1),
        "objects": sums.get("objects", 0) / samples,
        "pasted": sums.get("pasted", 0) / samples,
        "bypassed_share": sums.get("bypassed", 0) / samples,
        "padding_share": sums.get("padding", 0) / samples,
        "megapixels": sums.get("pixels", 0) / samples / 1e6,
        **dict(sorted(per_sample.items())),
    }
