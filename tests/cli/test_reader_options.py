"""Fields of readers as options, also those of readers that other packages add."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from dcap.cli.__main__ import main
from dcap.convert.conversion_report import ConversionReport
from dcap.convert.image_folder import ImageSearch
from dcap.convert.reader import READERS, Opened
from support.convert_cases import image


@dataclass(frozen=True)
class Own:
    """A reader that shows its options."""

    year: int
    """Year of the photos; it has no default."""
    split: Literal["train", "test"] = "test"
    """Which photos."""
    scale: float = 1.0
    """A factor."""
    crowds: bool = True
    """Take crowds."""
    tags: list[str] = field(default_factory=list)
    """Tags."""

    def __post_init__(self) -> None:
        if self.year == 0:
            raise ValueError("there is no year 0")

    def open(self, source: Path, images: ImageSearch, report: ConversionReport) -> Opened:
        (source.parent / "seen.json").write_text(json.dumps(vars(self)))
        return Opened(images.within(source.parent), 0, iter(()))


@dataclass(frozen=True)
class Needy(Own):
    split: int = field(kw_only=True)  # type: ignore[assignment]
    """Number of the part."""


@dataclass(frozen=True)
class Clashing:
    """Its seed is also one of dcap."""

    seed: int = 0


@pytest.fixture(autouse=True)
def readers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made: dict[str, Any] = {"own": Own, "needy": Needy, "clashing": Clashing, "source_less": lambda: None}
    with monkeypatch.context() as patch:
        patch.setattr(READERS, "_items", {**READERS._items, **made})
        yield


def run(tmp_path: Path, reader: str, *options: str) -> int:
    image(tmp_path / "a.png")
    return main(["convert", reader, str(tmp_path / "in"), "-o", str(tmp_path / "out.jsonl"), *options])


def seen(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "seen.json").read_text())
    return found


def test_fields_have_their_defaults_and_types(tmp_path: Path) -> None:
    run(tmp_path, "own", "--year", "2020")
    assert seen(tmp_path) == {"year": 2020, "split": "test", "scale": 1.0, "crowds": True, "tags": []}
    run(tmp_path, "own", "--year", "1999", "--no-crowds", "--scale", "0.5", "--split", "train")
    assert seen(tmp_path) == {"year": 1999, "split": "train", "scale": 0.5, "crowds": False, "tags": []}


def test_the_split_of_a_reader_goes_with_shares(tmp_path: Path) -> None:
    run(tmp_path, "own", "--year", "1", "--split", "0.5,0.5", "--split", "train")
    assert seen(tmp_path)["split"] == "train"
    run(tmp_path, "needy", "--year", "1", "--split", "3")
    assert seen(tmp_path)["split"] == 3


@pytest.mark.parametrize(
    ("reader", "options", "message"),
    [
        ("own", ["--year", "1", "--split", "val"], "--split must be shares such as 0.9,0.1 or one of train, test"),
        ("own", ["--year", "0"], "reader 'own' must not fail, and raised ValueError: there is no year 0"),
        ("needy", ["--year", "1"], "--split must name a part of the source: Number of the part."),
        ("needy", ["--year", "1", "--split", "a"], "--split must be shares such as 0.9,0.1 or a number, not a"),
        ("clashing", [], "reader 'clashing' must have other fields than seed: --seed is an option of dcap convert"),
    ],
)
def test_what_does_not_fit_is_said(
    tmp_path: Path, reader: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, reader, *options) == 2
    assert capsys.readouterr().err.startswith(f"dcap: {message}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--year"),
        (["--year", "1", "--scale", "nan"], "argument --scale: must be a finite number, not 'nan'"),
        (["--year", "1", "--min-area", "inf"], "argument --min-area: must be a finite number, not 'inf'"),
    ],
)
def test_wrong_values_are_refused(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "own", *options)
    assert message in capsys.readouterr().err


def test_a_reader_that_cannot_be_loaded_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    get = READERS.get

    def broken(name: str, where: str = "") -> Any:
        from dcap.core.registry import calling

        with calling("entry point gone = 'gone:Reader' of dcap.readers"):
            return get(name, where) if name != "gone" else warnings.gone  # type: ignore[attr-defined]

    monkeypatch.setattr(READERS, "_items", {**READERS._items, "gone": object()})
    monkeypatch.setattr(READERS, "get", broken)
    assert run(tmp_path, "gone", "--any", "-x", "3") == 2
    assert "entry point gone = 'gone:Reader' of dcap.readers must not fail" in capsys.readouterr().err
    run(tmp_path, "own", "--year", "5")
    assert seen(tmp_path)["year"] == 5
