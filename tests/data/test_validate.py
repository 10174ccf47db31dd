"""The report of ``dcap validate``: every problem, and counts over what is good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcap.data.builtin import resolve_data
from dcap.data.validate import Finding, validate

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def test_counts(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    objects = [
        {"desc": "a", "bbox_2d": [-5, 0, 5, 5]}, {"desc": "b", "line": [0, 0, 5, 5]},
        {"desc": "c", "line": [1, 0, 5, 5]}, {"desc": "d", "poly": [0, 0, 5, 5, 0, 5]},
    ]  # fmt: skip
    path = write_jsonl([make_record(objects=objects, summary="all"), make_record(objects=[])])
    report = validate([path])
    assert report.problems == ()
    assert (report.records, report.bad, report.negatives, report.summaries, report.clipped) == (2, 0, 1, 1, 1)
    assert report.objects == {"bbox_2d": 1, "poly": 1, "line": 2}
    text = "lies partly outside the image (64 x 48); the inner part is used"
    assert report.notes == (Finding(str(path), 1, "objects[0].bbox_2d", text),)
    assert photo.exists()


def test_all_problems_of_all_records(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    path = write_jsonl(
        [
            make_record(),
            make_record(width=0, objects=[{"desc": "", "bbox_2d": [5, 0, 1, 5]}]),
            make_record(images=["gone.png"]),
            make_record(height=64, width=48),
        ]
    )
    report = validate([path])
    assert [(p.line, p.field) for p in report.problems] == [
        (2, "width"), (2, "objects[0].desc"), (2, "objects[0].bbox_2d"), (3, "images[0]"),
        (4, "width, height"),
    ]  # fmt: skip
    assert report.problems[0] == Finding(str(path), 2, "width", "must be a whole number of pixels >= 1, not 0")
    assert report.problems[3].text.startswith(f"{photo.parent}/gone.png must be a readable file, not missing")
    assert (report.records, report.bad, report.images_missing) == (1, 3, 1)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_records_is_a_problem(
    write_jsonl: Write, make_record: Make, photo: Path, content: bytes
) -> None:
    good, empty = write_jsonl([make_record()]), photo.parent / "empty.jsonl"
    empty.write_bytes(content)
    report = validate([good, empty])
    (problem,) = report.problems
    assert (problem.file, problem.field) == (str(empty), "file")
    assert problem.text.startswith("must hold at least one record")
    assert (report.records, report.bad) == (1, 0)


def test_truncated_pixels_are_found_by_decoding_only(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    photo.write_bytes(photo.read_bytes()[:-30])
    path = write_jsonl([make_record()])
    assert validate([path]).problems == ()
    (problem,) = validate([path], decode=True).problems
    assert "truncated" in problem.text


def test_root_and_bound_are_used(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    path = write_jsonl([make_record()])
    assert "data.root" in validate([path], root=photo.parent / "sub").problems[0].text
    assert "at most 100 pixels" in validate([path], max_pixels=100).problems[0].text


def test_the_report_is_json() -> None:
    report = validate([resolve_data("builtin:photos/photos.jsonl")], decode=True)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["records"] == 5
    assert data["problems"] == data["notes"] == []
    assert sum(data["objects"].values()) == 51
    assert data["files"][0].endswith("photos.jsonl")


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    validate([resolve_data("builtin:photos/photos.jsonl")], on_read=lambda *counts: told.append(counts))
    assert told == [(i, 5) for i in range(1, 6)]


def test_a_misspelt_optional_key_is_noted_once_per_file(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    box = {"desc": "a", "bbox_2d": [0, 0, 5, 5]}
    objects = [{**box, "score": 1}, {**box, "Atributes": {"red": True}}, {**box, "Atributes": {"red": False}}]
    lines = [make_record(), make_record(sumary="all", objects=objects, summary_en="x"), make_record(sumary="none")]
    path = write_jsonl(lines)
    report = validate([path])
    assert (report.records, report.bad, photo.exists()) == (3, 0, True)
    assert report.notes == (
        Finding(str(path), 2, "sumary", "is not a known key; did you mean summary?"),
        Finding(str(path), 2, "objects[1].Atributes", "is not a known key; did you mean attributes?"),
    )


def test_a_key_beside_the_one_it_is_like_is_meant_so(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    box = {"desc": "a", "bbox_2d": [0, 0, 5, 5], "attributes": 1, "attributes2": 2}
    path = write_jsonl([make_record(summary="all", summary2="more", objects=[box])])
    report = validate([path])
    assert (report.records, report.notes, photo.exists()) == (1, (), True)
