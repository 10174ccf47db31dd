"""Records of tar shards: their images are in the shard, their rules those of JSONL."""

from __future__ import annotations

import json
import os
import pickle
import tarfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcap.core.errors import ImageError, RecordError
from dcap.records.checking import ImageRules, check_records
from dcap.records.files.opening import open_source
from dcap.records.files.tar_shard import TarShard
from dcap.records.images import decode_image
from dcap.records.record import image_source
from support.container_cases import annotation, picture, samples, write_tar


def shard(tmp_path: Path, *jsons: bytes | dict[str, Any], image: str = "png") -> Path:
    texts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in jsons]
    members = [m for i, text in enumerate(texts) for m in ((f"{i}.{image}", picture(i)), (f"{i}.json", text))]
    return write_tar(tmp_path / "a.tar", members)


def test_records_have_their_images(tmp_path: Path) -> None:
    source = open_source(write_tar(tmp_path / "a.tar", samples(4)))
    assert len(source) == 4
    for i, record in enumerate(source):
        assert (record.image, record.summary, str(record.origin)) == (f"000{i}.png", f"picture {i}", f"a.tar:{i + 1}")
        image = image_source(record, tmp_path / "root")
        assert str(image) == f"000{i}.png in a.tar"
        assert (decode_image(image, record.canvas) == i).all()
    assert source[-1] == source[3]
    for index in (4, -5):
        for read in (source.__getitem__, source.origin, source.line, source.explain, source.embedded):
            with pytest.raises(IndexError, match=rf"a\.tar: index must be from -4 to below 4, .*, not {index}$"):
                read(index)


def test_images_may_be_named_or_not(tmp_path: Path) -> None:
    kept = annotation(0, images=["elsewhere/x.png"])
    nested = annotation(1, metadata={"images": 1})
    bom = b"\xef\xbb\xbf" + json.dumps(annotation(2), indent=1).encode() + b"\n"
    source = open_source(shard(tmp_path, kept, nested, bom))
    assert [record.image for record in source] == ["elsewhere/x.png", "1.png", "2.png"]
    assert source[1].metadata == {"images": 1}
    assert [decode_image(image_source(record), record.canvas)[0, 0, 0] for record in source] == [0, 1, 2]


def test_a_sample_without_an_image_names_a_file(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 12, 3), 77, np.uint8)).save(tmp_path / "x.png")
    path = write_tar(tmp_path / "a.tar", [("0.json", json.dumps(annotation(0, images=["x.png"])).encode())])
    (record,) = open_source(path)
    assert image_source(record) == tmp_path / "x.png"
    with pytest.raises(RecordError, match=r"a.tar:1: images\[0\] must stay inside data.root"):
        image_source(record, tmp_path / "root")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{}", "width must be given"),
        (b"", "column 1: line must be JSON"),
        (b"[1]", "line must be a JSON object"),
        (b'{"width": 1, "width": 2}', 'key "width" must be given once'),
        (b'{"images": ["a"], "images": ["b"]}', 'key "images" must be given once'),
        (b'{"images": ', "line must be JSON"),
    ],
)
def test_the_rules_are_those_of_jsonl(tmp_path: Path, text: bytes, said: str) -> None:
    source = open_source(shard(tmp_path, annotation(0), text))
    assert source[0].image == "0.png"
    with pytest.raises(RecordError, match=rf"^a.tar:2: .*{said}"):
        source[1]


def test_every_problem_of_a_shard_is_listed(tmp_path: Path) -> None:
    wrong_size = json.dumps(annotation(1, width=99)).encode()
    members = [*samples(1), ("1.png", picture(1)), ("1.json", wrong_size), ("2.png", picture(2)), ("3.png", b"GIF89a")]
    path = write_tar(tmp_path / "a.tar", [*members, ("3.json", json.dumps(annotation(3)).encode())])
    checked = check_records([path], "skip", ImageRules(root=tmp_path))
    assert len(checked) == 1
    assert [f"{bad.origin} {bad.problems[0]}".partition(", ")[0] for bad in checked.bad] == [
        "a.tar:2 width",
        "a.tar:3 json must be given: no member with the key of 2.png ends in .json",
        "a.tar:4 images[0] 3.png in a.tar must be one of JPEG",
    ]


def test_names_with_several_dots_are_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("x/img.01.png", picture(0)), ("x/img.01.json", b"{}")])
    with pytest.raises(RecordError, match=r"key is img: it ends at the first dot\. Name .* such as img_01\.json"):
        TarShard(path)[0]


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_shard_is_told(tmp_path: Path, kind: str) -> None:
    with tarfile.open(tmp_path / "a.tar", f"w:{kind}") as tar:  # type: ignore[call-overload]
        tar.addfile(tarfile.TarInfo("0.json"))
    with pytest.raises(RecordError, match=r"a\.tar: shard must be a plain tar file, not a compressed one"):
        TarShard(tmp_path / "a.tar")


def test_an_image_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = shard(tmp_path, annotation(0))
    (record,) = TarShard(path, max_image_bytes=len(picture(0)))
    assert decode_image(image_source(record), record.canvas).shape == (8, 12, 3)
    (record,) = TarShard(path, max_image_bytes=len(picture(0)) - 1)
    with pytest.raises(ImageError, match=r"^a.tar:1: image 0.png in a.tar must have at most \d+ bytes, not \d+"):
        decode_image(image_source(record), record.canvas, origin=record.origin)


def test_another_process_reads_too(tmp_path: Path) -> None:
    source = open_source(write_tar(tmp_path / "a.tar", samples(3)))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        record = pool.submit(source.__getitem__, 1).result(timeout=240)
        assert record.image == "0001.png"
        assert (pool.submit(decode_image, image_source(record), record.canvas).result(timeout=240) == 1).all()
    large = TarShard(write_tar(tmp_path / "b.tar", samples(400)), index_from=1)
    sent = pickle.dumps(large)
    assert len(sent) < 1000
    assert pickle.loads(sent)[399].image == "0399.png"


def test_a_shard_that_changes_is_an_error(tmp_path: Path) -> None:
    source = open_source(write_tar(tmp_path / "a.tar", samples(3)))
    record, image = source[0], source.embedded(0)
    os.truncate(tmp_path / "a.tar", 600)
    for use in (lambda: source[0], lambda: image.open(), lambda: decode_image(image_source(record), None)):
        with pytest.raises(RecordError, match=r"a.tar: file must not change while it is in use"):
            use()


def test_a_member_name_is_never_a_path(tmp_path: Path) -> None:
    text = json.dumps(annotation(0)).encode()
    path = write_tar(tmp_path / "a.tar", [("../../etc/x.png", picture(5)), ("../../etc/x.json", text)])
    (record,) = open_source(path)
    assert record.image == "../../etc/x.png"
    assert (decode_image(image_source(record, tmp_path), record.canvas) == 5).all()
    assert sorted(os.listdir(tmp_path)) == ["a.tar"]


def test_archives_joined_by_cat_give_the_records_of_all(tmp_path: Path) -> None:
    one = write_tar(tmp_path / "one.tar", samples(2)).read_bytes()
    two = write_tar(tmp_path / "two.tar", [(f"b{name}", data) for name, data in samples(3)]).read_bytes()
    (tmp_path / "both.tar").write_bytes(one + b"\0" * 5120 + two + two[:0])
    source = open_source(tmp_path / "both.tar")
    assert [record.image for record in source] == ["0000.png", "0001.png", "b0000.png", "b0001.png", "b0002.png"]
    assert [decode_image(image_source(record), record.canvas)[0, 0, 0] for record in source] == [0, 1, 0, 1, 2]
    for damage in (b"no archive", two[:1000], b"x" + two[1:]):
        (tmp_path / "bad.tar").write_bytes(one + damage)
        with pytest.raises(RecordError, match=rf"not cut or damaged at byte [0-9]+ of {len(one) + len(damage)}"):
            open_source(tmp_path / "bad.tar")


def test_sidecars_of_macos_are_no_samples(tmp_path: Path) -> None:
    members = [member for name, data in samples(2) for member in ((f"d/._{name}", b"\0\5\x16\7"), (f"d/{name}", data))]
    source = open_source(write_tar(tmp_path / "a.tar", [("._x.json", b"\0"), *members]))
    assert [record.image for record in source] == ["d/0000.png", "d/0001.png"]
