"""The comparison of two models: what is measured, and which difference is too large."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dcap.answers.profile import DatasetProfile
from dcap.core.errors import ConfigError, ImageError
from dcap.infer import export_proof
from dcap.infer.answers_apart import AnswersApart
from dcap.infer.export_folder import ExportOptions, export
from dcap.infer.export_proof import Proof, ProofOptions, prove
from dcap.infer.source import find_source
from support.tuned import CPU, PROFILE

WRITTEN = AnswersApart(
    answers=2, equal=2, objects=3, objects_apart=0, median_shift=0.0, p99_shift=0.0, largest_shift=0.0, f1_change=0.0
)
EQUAL = Proof(records=2, tokens=20, max_logit_difference=0.0, mean_kl=0.0, equal_top1=1.0, written=WRITTEN)


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({}, None),
        ({"mean_kl": 1e-3, "median_shift": 2.0, "f1_change": -0.005}, None),
        ({"median_shift": None, "p99_shift": None, "largest_shift": None, "f1_change": None, "objects": 0}, None),
        ({"mean_kl": 2e-3}, "mean KL must be at most 0.001, not 0.002"),
        ({"mean_kl": float("nan")}, "mean KL must be at most 0.001, not nan"),
        ({"median_shift": 2.5}, "median shift must be at most 2 grid units, not 2.5"),
        ({"f1_change": -0.006}, "F1 must change by at most 0.005, not -0.006"),
    ],
)
def test_what_is_too_far_apart(change: dict[str, Any], failure: str | None) -> None:
    forced = {name: value for name, value in change.items() if name == "mean_kl"}
    written = {name: value for name, value in change.items() if name not in forced}
    found = dataclasses.replace(EQUAL, written=dataclasses.replace(WRITTEN, **written), **forced)
    assert found.failures(1e-3) == ([] if failure is None else [failure])
    assert len(found.lines()) == 2


@pytest.fixture
def options(photos: Path) -> Callable[..., ProofOptions]:
    return lambda **changes: ProofOptions(**{"data": (photos,), "num_records": 2, "max_new_tokens": 4, **changes})


def test_a_model_is_like_itself_merged(
    tuned: Callable[[str], Path], micro_folder: Path, tmp_path: Path, options: Callable[..., ProofOptions]
) -> None:
    given = ExportOptions(str(micro_folder), tuned("dora"), tmp_path / "out", dtype="float32", proof=options())
    made = export(given)
    found = made.proof
    assert found is not None
    assert (found.records, found.equal_top1, found.written.answers, found.written.equal) == (2, 1.0, 2, 2)
    assert 2 <= found.tokens <= 10
    assert found.max_logit_difference < 1e-4
    assert found.mean_kl < 1e-8
    assert found.failures(1e-3) == []
    assert made.about["proof"] == dataclasses.asdict(found)


def test_the_figures_are_those_of_the_distributions(
    tuned: Callable[[str], Path],
    micro_folder: Path,
    options: Callable[..., ProofOptions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The base without the adapter is another model. SciPy gives the divergence of what the two heads say."""
    from scipy.special import rel_entr, softmax

    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    original = export_proof._chunks

    def recording(*traces: Any) -> Any:
        for pair in original(*traces):
            seen.append(pair)
            yield pair

    monkeypatch.setattr(export_proof, "_chunks", recording)
    first, second = find_source(str(micro_folder), tuned("lora")), find_source(str(micro_folder), None)
    found = prove(first, second, options())
    one, two = (torch.cat(side).double().numpy() for side in zip(*seen, strict=True))
    assert one.shape == (found.tokens, 288)
    divergence = rel_entr(softmax(one, axis=1), softmax(two, axis=1)).sum(1)
    assert found.mean_kl == pytest.approx(divergence.mean(), rel=1e-3)
    assert found.max_logit_difference == pytest.approx(np.abs(one - two).max(), rel=1e-6)
    assert found.equal_top1 == (one.argmax(1) == two.argmax(1)).mean()
    assert found.failures(1e-6)


def test_options_must_make_sense(options: Callable[..., ProofOptions], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--check must be at least 1, not 0"):
        options(num_records=0)
    with pytest.raises(ConfigError, match="--max-kl must be at least 0"):
        options(max_kl=-1.0)
    assert options().asked(PROFILE) is PROFILE
    with pytest.raises(ConfigError, match="not 'poles'; the model was not trained on a mixture"):
        options(dataset="poles").asked(PROFILE)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ConfigError, match="--data must hold at least one record"):
        options(data=(tmp_path / "empty.jsonl",)).records()


def test_logits_that_are_not_finite_are_named() -> None:
    def trace(name: str, value: float) -> Any:
        head = torch.nn.Linear(2, 3)
        return SimpleNamespace(name=name, head=head, hidden=[torch.full((1, 2), value)])

    with pytest.raises(ConfigError, match="second must give finite logits, and does not"):
        export_proof._logits_apart(trace("first", 1.0), trace("second", float("nan")))


def test_a_data_set_of_another_mode_has_no_f1(
    tuned: Callable[[str], Path], micro_folder: Path, options: Callable[..., ProofOptions]
) -> None:
    source = find_source(str(micro_folder), tuned("lora"))
    summary = DatasetProfile(PROFILE.answer, PROFILE.prompts, "summary")
    mixed = dataclasses.replace(source, profile=dataclasses.replace(PROFILE, datasets={"words": summary}))
    assert prove(mixed, mixed, options(num_records=1)).written.f1_change == 0.0
    assert prove(mixed, mixed, options(num_records=1, dataset="words")).written.f1_change is None


def test_each_model_has_its_own_revision(
    tuned: Callable[[str], Path],
    micro_folder: Path,
    options: Callable[..., ProofOptions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str | None] = []

    def load(*_: Any, revision: str | None, **__: Any) -> Any:
        asked.append(revision)
        return original(find_source(str(micro_folder), None), device=CPU, dtype="float32")

    original = export_proof.HfEngine.load
    monkeypatch.setattr(export_proof.HfEngine, "load", load)
    source = find_source(str(micro_folder), tuned("lora"))
    prove(source, source, options(num_records=1), revision="v1")
    assert asked == ["v1", None]


def test_a_bad_image_leaves_no_export(
    tuned: Callable[[str], Path], micro_folder: Path, tmp_path: Path, options: Callable[..., ProofOptions], photos: Path
) -> None:
    (photos.parent / "1.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"photos\.jsonl:2"):
        export(ExportOptions(str(micro_folder), tuned("lora"), tmp_path / "out", proof=options()))
    assert not (tmp_path / "out").exists()
