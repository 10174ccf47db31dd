"""What is there twice: lines, image paths, image bytes, objects."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dcap.audit import duplicates
from dcap.audit.duplicates import NO_IMAGE, Fingerprints, repeats, same_images, same_objects
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.opening import open_source

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def prints_of(file: JsonlFile, with_images: bool = True) -> Fingerprints:
    return Fingerprints.of([(0, i, file.line(i), file[i]) for i in range(len(file))], with_images)


@given(st.lists(st.integers(0, 8)))
def test_each_repeat_is_paired_with_the_first(keys: list[int]) -> None:
    wanted = [(i, keys.index(key)) for i, key in enumerate(keys) if keys.index(key) != i]
    assert repeats(np.array(keys, np.int64)) == wanted


def test_a_path_is_the_same_however_it_is_written(write_jsonl: Write, make_record: Make, tmp_path: Path) -> None:
    names = ["a.png", "./a.png", f"{tmp_path}/x/../a.png", "b.png"]
    prints = prints_of(JsonlFile(write_jsonl([make_record(images=[name]) for name in names])))
    assert repeats(prints.path) == [(1, 0), (2, 0)]
    assert repeats(prints.record) == []
    assert prints.size.tolist() == [NO_IMAGE] * 4


def test_parts_are_joined(write_jsonl: Write, make_record: Make) -> None:
    file = JsonlFile(write_jsonl([make_record(images=[f"{i}.png"]) for i in (0, 1, 0)]))
    parts = [Fingerprints.of([(0, i, file.line(i), file[i])], with_images=False) for i in range(3)]
    joined = Fingerprints.concatenate(parts)
    assert joined.place.tolist() == [[0, 0], [0, 1], [0, 2]]
    assert repeats(joined.record) == [(2, 0)]
    assert len(Fingerprints.concatenate([])) == 0


def test_only_files_of_one_size_are_read(
    write_jsonl: Write, make_record: Make, tmp_path: Path, monkeypatch: Any
) -> None:
    contents = {"a": b"12345", "b": b"12345", "c": b"12354", "d": b"1234", "e": b"123456"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    file = JsonlFile(write_jsonl([make_record(images=[name]) for name in "abbcade"]))
    read: list[str] = []
    whole = duplicates._content
    monkeypatch.setattr(duplicates, "_content", lambda record: read.append(record.image) or whole(record))
    assert same_images(prints_of(file), [file]) == [(1, 0)]
    assert read == ["a", "b", "c"]


def test_an_image_that_is_gone_is_like_no_other(write_jsonl: Write, make_record: Make, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"123")
    file = JsonlFile(write_jsonl([make_record(images=[name]) for name in "abcd"]))
    prints = prints_of(file)
    (tmp_path / "a").unlink()
    (tmp_path / "b").unlink()
    assert same_images(prints, [file]) == []


def test_objects_are_the_same_by_caption_kind_and_points(write_jsonl: Write, make_record: Make) -> None:
    box, line = {"bbox_2d": [1, 2, 30, 40]}, {"line": [1, 2, 30, 40]}
    objects = [{"desc": d, **shape} for d, shape in (("a", box), ("a", line), ("b", box), ("a", box), ("a", box))]
    (record,) = JsonlFile(write_jsonl([make_record(objects=objects)]))
    assert list(same_objects(record)) == [(3, 0), (4, 0)]


def test_images_inside_a_shard_are_compared_by_their_bytes(tmp_path: Path, make_record: Make) -> None:
    text = json.dumps({k: v for k, v in make_record().items() if k != "images"}).encode()
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for key, content in (("0", b"123"), ("1", b"124"), ("2", b"123")):
            for name, data in ((f"{key}.json", text), (f"{key}.png", content)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    source = open_source(tmp_path / "s.tar")
    prints = Fingerprints.of([(0, i, source.line(i), source[i]) for i in range(3)], with_images=True)
    assert prints.size.tolist() == [3, 3, 3]
    assert repeats(prints.record) == []  # other images make other records, where the text is the same
    assert same_images(prints, [source]) == [(2, 0)]
