"""Whole conversions: the output appears whole or not at all, and passes the check of records."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.audit.validation import validate_files
from dcap.convert.conversion import ConvertOptions, convert
from dcap.convert.conversion_report import ConversionReport
from dcap.convert.readers import READERS
from dcap.core.errors import ConfigError, RecordError
from dcap.records.checking import ImageRules
from support.convert_cases import image, instances, read

BOX = {"bbox": [1, 1, 3, 3]}


def run(source: Path, out: Path, report: ConversionReport | None = None, **options: bool) -> int | None:
    return convert(
        READERS.get("coco")(), source, out, report or ConversionReport(), ConvertOptions(source.parent, **options)
    )


def test_the_output_is_valid_and_starts_at_its_own_folder(tmp_path: Path) -> None:
    out = tmp_path / "lists" / "deep" / "out.jsonl"
    assert run(instances(tmp_path, BOX, {"bbox": [6, 1, 9, 9]}), out) == 1
    assert b'"bbox_2d":[1,1,4,4]' in out.read_bytes()
    report = validate_files([out], ImageRules(decode=True))
    assert (report.records, report.problems, report.notes) == (1, (), ())
    assert [path.name for path in out.parent.iterdir()] == ["out.jsonl"]


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    source, out = instances(tmp_path, BOX), tmp_path / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(ConfigError, match=r"exists\. Give --overwrite"):
        run(source, out)
    with pytest.raises(ConfigError, match="another file than the input"):
        run(source, source, overwrite=True)
    with pytest.raises(ConfigError, match="not a folder"):
        run(source, tmp_path, overwrite=True)
    with pytest.raises(RecordError):
        run(instances(tmp_path, {"bbox": 1}), out, overwrite=True)
    assert out.read_text() == "mine"
    assert run(instances(tmp_path, BOX), out, overwrite=True) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"in.json", "out.jsonl", "a.png"}


def test_strict_writes_nothing_where_something_is_lost(tmp_path: Path) -> None:
    report = ConversionReport()
    assert run(instances(tmp_path, BOX, {"bbox": [1, 1, 0, 0]}), tmp_path / "out.jsonl", report, strict=True) is None
    assert report.total == 1
    assert not (tmp_path / "out.jsonl").exists()
    assert run(instances(tmp_path, BOX), tmp_path / "out.jsonl", strict=True) == 1


def test_what_is_not_there_is_told_and_no_loss(tmp_path: Path) -> None:
    for name in ("a", "b"):
        image(tmp_path / "JPEGImages" / f"{name}.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation><filename>a.png</filename></annotation>")
    records, report = read("voc", tmp_path)
    assert (len(records), report.total) == (1, 0)
    assert {loss.reason: loss.examples[0]["file"] for loss in report.found} == {
        "image without objects: a record of none": str(tmp_path / "Annotations" / "a.xml"),
        "image below the folder of images that no record is made of": str(tmp_path / "JPEGImages" / "b.png"),
    }
