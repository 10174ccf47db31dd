"""Samples of tar shards: grouped as WebDataset groups them, kept on disk, and shards that are none."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dcap.core.errors import RecordError
from dcap.records.files import saved_index, tar_shard
from dcap.records.files.line_index import find_lines, load_lines, save_lines
from dcap.records.files.saved_index import ContentKey
from dcap.records.files.tar_shard import TarIndex, find_samples, open_tar_index
from support.container_cases import annotation, picture, samples, write_tar

Groups = list[tuple[str, bytes | None, bytes | None]]


def indexed(path: Path) -> TarIndex:
    with path.open("rb") as file:
        return find_samples(file.fileno(), path)


def groups(path: Path, index: TarIndex) -> Groups:
    """Name, JSON and image of each sample, by the index alone."""
    data = path.read_bytes()
    parts = [(None if s < 0 else data[s : s + n]) for s, n in index.spans.T.reshape(-1, 2)]
    return [(index.name(i), parts[2 * i], parts[2 * i + 1]) for i in range(len(index))]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_are_those_of_the_archive(tmp_path: Path, form: int) -> None:
    names = ["a/0001", "a/" + "long" * 40, "ünï/codé", "./b/x y"]
    if form == tarfile.USTAR_FORMAT:
        names[1] = "a/short"
    members = [m for i, n in enumerate(names) for m in ((f"{n}.png", picture(i)), (f"{n}.json", b"{%d}" % i))]
    path = write_tar(tmp_path / "a.tar", members, format=form)
    assert groups(path, indexed(path)) == [(f"{n}.png", b"{%d}" % i, picture(i)) for i, n in enumerate(names)]


def test_what_belongs_to_a_sample(tmp_path: Path) -> None:
    members = [
        ("__m__/0.json", b"0"), ("README", b"0"), ("0.JPG", b"A"), ("0.txt", b"0"), ("0.seg.png", b"0"),
        ("0.json", b"1"), ("1.json", b"2"), ("2.txt", b"0"), ("2.webp", b"B"), ("x/2.json", b"3"),
        ("0.json", b"4"), ("3.cls", b"0"),
    ]  # fmt: skip
    path = write_tar(tmp_path / "a.tar", members)
    assert groups(path, indexed(path)) == [
        ("0.JPG", b"1", b"A"), ("1.json", b"2", None), ("2.webp", None, b"B"), ("x/2.json", b"3", None),
        ("0.json", b"4", None), ("3.cls", None, None),
    ]  # fmt: skip


def test_samples_are_those_that_webdataset_reads(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset", reason="webdataset is an oracle only")
    from webdataset.tariterators import group_by_keys, tar_file_expander

    path, draw = tmp_path / "a.tar", random.Random(0)
    with wds.TarWriter(str(path)) as writer:
        for i in range(40):
            sample = {"__key__": f"{'d/' * draw.randrange(3)}{i:05}", "json": annotation(i), "cls": i}
            writer.write(sample | ({"png": picture(i)} if draw.random() < 0.8 else {"txt": "no picture"}))
    with path.open("rb") as stream:
        read = list(group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}])))
    index = indexed(path)
    assert len(read) == len(index) == 40
    for sample, (name, text, image) in zip(read, groups(path, index), strict=True):
        assert name.rpartition("/")[2].partition(".")[0] == sample["__key__"].rpartition("/")[2]
        assert (text, image) == (sample["json"], sample.get("png"))


def test_links_devices_and_folders_are_passed_over(tmp_path: Path) -> None:
    def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        return member

    members = [
        (special("0.png", tarfile.SYMTYPE, "/etc/passwd"), b""), (special("0.jpg", tarfile.LNKTYPE, "0.json"), b""),
        ("0.json", b"{}"), (special("1.png", tarfile.CHRTYPE), b""), (special("2.json", tarfile.FIFOTYPE), b""),
        (special("3.json", tarfile.DIRTYPE), b""), (special("4.json", tarfile.GNUTYPE_SPARSE), b""),
    ]  # fmt: skip
    path = write_tar(tmp_path / "a.tar", members)
    assert groups(path, indexed(path)) == [("0.json", b"{}", None)]


@pytest.mark.parametrize("second", ["0.jpg", "0.PNG"])
def test_two_images_of_one_sample_are_an_error(tmp_path: Path, second: str) -> None:
    path = write_tar(tmp_path / "a.tar", [("0.png", b"A"), (second, b"B")])
    with pytest.raises(RecordError, match=rf"a.tar: sample '0' must have one image member, and {second} at byte 1024"):
        indexed(path)


def test_a_shard_without_samples(tmp_path: Path) -> None:
    assert len(indexed(write_tar(tmp_path / "a.tar", []))) == 0


def test_any_cut_is_an_error_with_the_place(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples(3))
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))
    end += -end % 512
    for size in (*range(0, end + 512, 256), end - 1, end + 511):
        path.write_bytes(whole[:size])
        with pytest.raises(RecordError, match=rf"a.tar: shard must be a whole tar file, .* at byte \d+ of {size} "):
            indexed(path)
    path.write_bytes(whole[: end + 512])
    assert len(indexed(path)) == 3


def test_any_damage_is_an_error_or_an_index_of_the_shard(tmp_path: Path) -> None:
    """Headers with any byte changed, their checksums made right again."""
    members = [("l" * 120 + ".json", b"{}"), ("ünï.png", b"A")]
    draw = random.Random(0)
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = write_tar(tmp_path / "a.tar", members, format=form)
        whole = path.read_bytes()
        starts = [k for k in range(0, len(whole), 512) if whole[k + 257 : k + 262] == b"ustar"]
        for _ in range(120):
            torn = bytearray(whole)
            start = draw.choice(starts)
            for _ in range(draw.randrange(1, 4)):
                torn[start + draw.choice([draw.randrange(512), 124 + draw.randrange(12), 156])] = draw.choice(
                    [0, 0x80, 0xFF, ord("0"), ord("7"), ord("L"), ord("x"), ord("-"), draw.randrange(256)]
                )
            torn[start + 148 : start + 156] = b" " * 8
            torn[start + 148 : start + 156] = b"%06o\0 " % sum(torn[start : start + 512])
            path.write_bytes(torn)
            try:
                index = indexed(path)
            except RecordError:
                continue
            there = index.spans[0] >= 0
            assert (index.spans[:2].sum(0)[there] <= len(torn)).all()


def test_a_header_may_not_ask_for_much(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(RecordError, match=r"must be a whole tar file.*header of 1099511627776 bytes"):
        indexed(path)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "a.tar", [*samples(5), ("x/" + "long" * 20 + ".json", b"{}")])


def opened(path: Path) -> TarIndex:
    with path.open("rb") as file:
        return open_tar_index(file.fileno(), path, least_bytes=1)


def test_the_second_opening_reads_no_headers(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = groups(kept, indexed(kept))
    first = opened(kept)
    monkeypatch.setattr(tar_shard, "find_samples", None)
    second = opened(kept)
    assert groups(kept, first) == groups(kept, second) == found
    assert (first.saved, second.saved) == (True, True)
    assert not second.spans.flags.writeable
    assert sorted(os.listdir(kept.parent)) == ["a.tar", "a.tar.dcap-index"]


def test_a_stale_or_torn_index_is_made_again(kept: Path) -> None:
    opened(kept)
    place = kept.with_name("a.tar.dcap-index")
    whole = place.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 60):
        torn = bytearray(whole)
        torn[bit // 8] ^= 1 << bit % 8
        place.write_bytes(torn)
        assert len(opened(kept)) == 6
        assert place.read_bytes() == whole
    write_tar(kept, samples(2))
    assert len(opened(kept)) == 2
    place.write_bytes(b"")
    assert len(opened(kept)) == 2


@pytest.mark.parametrize("spans", [[0, 9**9, -1, -1], [-2, 1, -1, -1], [1, -1, -1, -1], [-1, -1, 9**9, 1], [2**62] * 4])
def test_places_outside_the_shard_are_refused(kept: Path, spans: list[int]) -> None:
    """A checksum says that nobody changed the index by accident, not that it was right."""
    opened(kept)
    place = kept.with_name("a.tar.dcap-index")
    with kept.open("rb") as file:
        key = ContentKey.of(file.fileno())
    assert tar_shard._load(place, key) is not None
    rows = np.array([*spans, 0x6170], np.int64)[:, None]
    assert saved_index.save_arrays(place, b"dcaptar2", key, list(rows))
    assert tar_shard._load(place, key) is None
    assert saved_index.save_arrays(place, b"dcaptar2", key, list(np.array([0, 9, -1, -1, 0x6170])[:, None]))
    assert len(tar_shard._load(place, key) or ()) == 1


def test_the_index_of_lines_is_none_of_samples(kept: Path) -> None:
    index = kept.with_name("a.tar.dcap-index")
    with kept.open("rb") as file:
        key = ContentKey.of(file.fileno())
        assert save_lines(index, key, find_lines(file.fileno(), 0))
    assert tar_shard._load(index, key) is None
    assert load_lines(index, key) is not None


def test_json_of_a_sample(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples(1))
    ((_, text, image),) = groups(path, indexed(path))
    assert json.loads(text or b"") == annotation(0)
    assert io.BytesIO(image or b"").read(4) == b"\x89PNG"
