"""A folder with a marker: a change of any bit of any file is noticed, by the file's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcap.core import manifest
from dcap.core.errors import CheckpointError
from dcap.core.manifest import check_digests, digest_file, read_marker, seal, unlisted

FILES = {"a.bin": bytes(range(200)), "part/b.json": b'{"x": [1, 2]}\n', "empty": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "meta.json").write_text(json.dumps({"step": 3, "name": "Straße"}))
    seal(tmp_path, "meta.json")
    return tmp_path


def test_a_sealed_folder_is_whole(folder: Path) -> None:
    assert read_marker(folder, "meta.json") == {"step": 3, "name": "Straße"}
    assert check_digests(folder, "meta.json") == {"step": 3, "name": "Straße"}


@pytest.mark.parametrize("name", ["a.bin", "part/b.json"])
def test_a_flipped_bit_of_a_file_is_noticed(folder: Path, name: str) -> None:
    data = FILES[name]
    for bit in range(0, 8 * len(data), 7):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(changed)
        read_marker(folder, "meta.json")  # the size is the same
        with pytest.raises(CheckpointError, match=rf"the bytes of {name} must be those that were written"):
            check_digests(folder, "meta.json")


def test_a_flipped_bit_of_the_marker_is_noticed_or_changes_nothing(folder: Path) -> None:
    data, meta, noticed = (folder / "meta.json").read_bytes(), read_marker(folder, "meta.json"), 0
    for bit in range(0, 8 * len(data), 9):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        (folder / "meta.json").write_bytes(changed)
        try:
            read = read_marker(folder, "meta.json")
        except CheckpointError:
            noticed += 1
        else:
            assert read == meta
    assert noticed > 0.8 * len(data) * 8 / 9, "all but some blanks"


def test_only_a_part_may_be_looked_at(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"other")
    check_digests(folder, "meta.json", "part/")
    with pytest.raises(CheckpointError, match=r"a\.bin"):
        check_digests(folder, "meta.json", ("part/", "a"))


def test_a_file_that_is_gone_or_longer_is_noticed(folder: Path) -> None:
    (folder / "empty").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="empty must be 0 bytes, not 1 bytes"):
        read_marker(folder, "meta.json")
    (folder / "empty").unlink()
    with pytest.raises(CheckpointError, match="empty must be 0 bytes, not nothing"):
        read_marker(folder, "meta.json")
    with pytest.raises(CheckpointError, match="empty must be 0 bytes, not nothing"):
        check_digests(folder, "meta.json")


def test_sizes_are_compared_before_a_byte_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "empty").write_bytes(b"x")
    monkeypatch.setattr(manifest, "digest_file", lambda _: pytest.fail("a file was read"))
    with pytest.raises(CheckpointError, match="empty must be 0 bytes, not 1 bytes"):
        check_digests(folder, "meta.json")


@pytest.mark.parametrize("name", ["/etc/hostname", "../other", "part/../../other"])
def test_a_marker_names_no_file_outside_its_folder(folder: Path, name: str) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    meta.pop("sha256")
    meta["files"][name] = {"size": 0, "sha256": "00"}
    (folder / "meta.json").write_text(json.dumps(meta | {"sha256": manifest._own_digest(meta)}))
    for read in (read_marker, check_digests):
        with pytest.raises(CheckpointError, match=rf"meta\.json must name files in it, not {name}"):
            read(folder, "meta.json")


def test_what_the_marker_does_not_list_is_found(folder: Path) -> None:
    assert unlisted(folder, "meta.json") == []
    (folder / "part" / "mine").touch()
    (folder / "link").symlink_to("part")
    assert unlisted(folder, "meta.json") == ["link", "part/mine"]


def test_a_marker_of_an_older_version_is_not_taken_for_a_whole_one(folder: Path) -> None:
    (folder / "meta.json").write_text(json.dumps({"step": 3, "files": {"a.bin": 200}}))
    with pytest.raises(
        CheckpointError, match=r"must hold a readable meta\.json: it lacks what this version of dcap writes"
    ):
        read_marker(folder, "meta.json")


def test_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_file(tmp_path / "a").startswith("ba7816bf")
