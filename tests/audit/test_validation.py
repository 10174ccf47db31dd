"""The report of ``dcap validate``: every problem, and counts over what is good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcap.audit.findings import Finding
from dcap.audit.validation import validate_files
from dcap.audit.validation_report import NOTES_KEPT, validation_page
from dcap.records.checking import ImageRules
from dcap.records.files.opening import resolve_data

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def test_counts(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    objects = [
        {"desc": "a", "bbox_2d": [-5, 0, 5, 5]}, {"desc": "b", "line": [0, 0, 5, 5]},
        {"desc": "c", "line": [1, 0, 5, 5]}, {"desc": "d", "poly": [0, 0, 5, 5, 0, 5]},
    ]  # fmt: skip
    path = write_jsonl([make_record(objects=objects, summary="all"), make_record(objects=[])])
    report = validate_files([path])
    assert report.problems == ()
    assert (report.records, report.bad, report.negatives, report.summaries, report.clipped) == (2, 0, 1, 1, 1)
    assert report.objects == {"bbox_2d": 1, "poly": 1, "line": 2}
    text = "lies partly outside the image (64 x 48); the inner part is used"
    assert report.notes == (
        Finding(str(path), 1, "objects[0].bbox_2d", text),
        Finding(str(path), 2, "images[0]", "is the image of line 1 too"),
    )
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
    report = validate_files([path])
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
    report = validate_files([good, empty])
    (problem,) = report.problems
    assert (problem.file, problem.field) == (str(empty), "file")
    assert problem.text.startswith("must hold at least one record")
    assert (report.records, report.bad) == (1, 0)


def test_truncated_pixels_are_found_by_decoding_only(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    photo.write_bytes(photo.read_bytes()[:-30])
    path = write_jsonl([make_record()])
    assert validate_files([path]).problems == ()
    (problem,) = validate_files([path], ImageRules(decode=True)).problems
    assert "truncated" in problem.text


def test_root_and_bound_are_used(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    path = write_jsonl([make_record()])
    assert "data.root" in validate_files([path], ImageRules(root=photo.parent / "sub")).problems[0].text
    assert "at most 100 pixels" in validate_files([path], ImageRules(max_pixels=100)).problems[0].text


def test_the_report_is_json() -> None:
    report = validate_files([resolve_data("builtin:photos/photos.jsonl")], ImageRules(decode=True))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["records"] == 5
    assert data["problems"] == data["notes"] == []
    assert sum(data["objects"].values()) == 51
    assert data["files"][0].endswith("photos.jsonl")


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    photos = resolve_data("builtin:photos/photos.jsonl")
    validate_files([photos] * 2, on_read=lambda *counts: told.append(counts))
    assert told == [("records", 5, 10), ("records", 10, 10)]


def test_a_misspelt_optional_key_is_noted_once_per_file(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    box = {"desc": "a", "bbox_2d": [0, 0, 5, 5]}
    objects = [{**box, "score": 1}, {**box, "desc": "b", "Atributes": {"red": True}}]
    objects.append({**box, "desc": "c", "Atributes": {"red": False}})
    lines = [make_record(), make_record(sumary="all", objects=objects, summary_en="x"), make_record(sumary="none")]
    for i, line in enumerate(lines):
        line["images"] = [f"{i}.png"]
    path = write_jsonl(lines)
    report = validate_files([path], images=None)
    assert (report.records, report.bad, photo.exists()) == (3, 0, True)
    assert report.notes == (
        Finding(str(path), 2, "sumary", "is not a known key; did you mean summary?"),
        Finding(str(path), 2, "objects[1].Atributes", "is not a known key; did you mean attributes?"),
    )


def test_a_key_beside_the_one_it_is_like_is_meant_so(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    box = {"desc": "a", "bbox_2d": [0, 0, 5, 5], "attributes": 1, "attributes2": 2}
    path = write_jsonl([make_record(summary="all", summary2="more", objects=[box])])
    report = validate_files([path])
    assert (report.records, report.notes, photo.exists()) == (1, (), True)


def mixed(make_record: Make, number: int) -> list[dict[str, Any] | bytes]:
    """Return good, clipped, repeated and bad records, enough for several worker processes."""
    records: list[dict[str, Any] | bytes] = []
    for i in range(number):
        box = {"desc": f"thing {i % 7}", "bbox_2d": [-1 if i % 3 else 1, i % 40, 5 + i % 20, 41]}
        objects = [box, box] if i % 11 == 0 else [box, {"desc": "road", "line": [0, 0, *range(2, 4 + 2 * (i % 5))]}]
        records.append(make_record(images=[f"{i % 1000}.png"], objects=objects, width=0 if i % 97 == 0 else 64))
    records[13] = b"torn"
    return records


def test_the_report_is_the_same_whatever_the_number_of_workers(write_jsonl: Write, make_record: Make) -> None:
    paths = [write_jsonl(mixed(make_record, n), f"{n}.jsonl") for n in (1500, 40)]
    report = validate_files(paths, images=None)
    assert validate_files(paths, images=None, num_workers=2) == report
    assert report.bad == sum(-(-n // 97) + 1 for n in (1500, 40))
    assert report.duplicates["records"] > 0
    assert report.duplicates["image_paths"] > 0


def test_notes_of_good_records_are_counted_and_the_first_are_kept(write_jsonl: Write, make_record: Make) -> None:
    box = {"desc": "a", "bbox_2d": [-5, 0, 5, 5]}
    records = [make_record(images=[f"{i}.png"], objects=[box, {**box, "desc": "b"}]) for i in range(600)]
    report = validate_files([write_jsonl(records)], images=None)
    assert report.clipped == 1200
    assert len(report.notes) == NOTES_KEPT
    assert report.note_kinds == {
        "objects[#].bbox_2d lies partly outside the image (64 x 48); the inner part is used": 1200
    }


def test_problems_are_counted_by_kind(write_jsonl: Write, make_record: Make) -> None:
    bad = [make_record(images=[f"gone {i}.png"]) for i in range(3)]
    bad += [make_record(objects=[{"desc": "a", "poly": [0] * n}]) for n in (1, 3)]
    kinds = validate_files([write_jsonl(bad)]).problem_kinds
    assert list(kinds.values()) == [5, 2], "bad objects do not hide that the image is missing"
    assert [kind.split(" must ")[0] for kind in kinds] == ["images[0] …", "objects[0].poly"]


def test_what_is_the_same_in_all_problems_of_a_kind_is_shown_with_their_first_places(
    write_jsonl: Write, make_record: Make
) -> None:
    bad = [make_record(objects=[{"desc": "a", "poly": [0] * n}]) for n in (3, 3, 5, 3)]
    report = validate_files([write_jsonl(bad[:2], "a.jsonl"), write_jsonl(bad[2:], "b.jsonl")], images=None)
    kind = "objects[0].poly must have an even count of at least 6 numbers, not #"
    assert report.problem_kinds == {kind: 4}
    assert report.places == {kind: ["a.jsonl:1", "a.jsonl:2", "b.jsonl:1"]}
    page = validation_page(report, "title")
    assert f"{kind} (a.jsonl:1, a.jsonl:2, b.jsonl:1, …)" in page


def test_what_is_there_twice_is_noted(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    (photo.parent / "copy.png").write_bytes(photo.read_bytes())
    Image.new("RGB", (64, 48), (10, 20, 31)).save(photo.parent / "other.png")
    same_size = {(photo.parent / name).stat().st_size for name in ("a.png", "copy.png", "other.png")}
    assert len(same_size) == 1, "only files of one size are read"
    box = {"desc": "cup", "bbox_2d": [1, 2, 30, 40]}
    first = write_jsonl([make_record(), make_record(images=["./a.png"], summary="x"), make_record()], "first.jsonl")
    second = write_jsonl([make_record(images=["other.png"], objects=[box, {**box, "desc": "b"}, box]),
                          make_record(images=["copy.png"])], "second.jsonl")  # fmt: skip
    report = validate_files([first, second])
    assert report.problems == ()
    assert report.duplicates == {"records": 1, "image_paths": 1, "image_bytes": 1, "objects": 1}
    assert [(Path(n.file).name, n.line, n.field, n.text) for n in report.notes] == [
        ("first.jsonl", 2, "images[0]", "is the image of line 1 too"),
        ("first.jsonl", 3, "record", "is the same line as line 1"),
        ("second.jsonl", 1, "objects[2]", "has the caption and the points of objects[0]"),
        ("second.jsonl", 2, "images[0]", "has the bytes of the image of first.jsonl:1"),
    ]
    assert validate_files([first, second], images=None).duplicates["image_bytes"] == 0


def test_what_the_border_splits_is_noted_and_counted(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    road = {"desc": "road", "line": [10, 10, 10, -5, 30, -5, 30, 20, 50, 20, 50, -5, 60, -5, 60, 2]}
    path = write_jsonl([make_record(objects=[road, {"desc": "cut", "line": [4, 5, -9, 5]}])])
    assert photo.exists()
    report = validate_files([path])
    (note, _) = report.notes
    text = "is in the image (64 x 48) in 3 parts; the largest is used, or all by augmentation.split_policy"
    assert note == Finding(str(path), 1, "objects[0].line", text)
    assert (report.clipped, report.split) == (2, 1)


def test_fractions_are_noted_once_per_file(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    shares = make_record(objects=[{"desc": "a", "bbox_2d": [0.1, 0.2, 0.9, 1]}])
    path = write_jsonl([make_record(), shares, {**shares, "summary": "more"}, make_record(summary="pixels")])
    assert photo.exists()
    text = "all coordinates of 2 records are at most 1; coordinates must be pixels, and these may be fractions of the"
    for workers in (0, 2):
        report = validate_files([path], None, num_workers=workers)
        assert [(note.line, note.field) for note in report.notes if note.text.startswith(text)] == [(2, "objects")]


def test_pictures_that_decode_nearly_black_are_noted(write_jsonl: Write, make_record: Make, tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    path = write_jsonl([make_record()])
    assert validate_files([path]).notes == ()
    (note,) = validate_files([path], ImageRules(decode=True)).notes
    assert note.field == "images[0]"
    assert note.text.startswith("decodes to a nearly black picture: no value is above 15 of 255")
    assert validate_files([path], ImageRules(decode=True, sixteen_bit="minmax")).notes == ()
