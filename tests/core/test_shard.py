"""Shards: their bounds, what they keep when they are stopped, and what is refused when they are put together."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.line_log import LineLog
from dcap.core.manifest import write_marker
from dcap.core.shard import (
    MOST_SHARDS,
    Shard,
    ShardFolder,
    check_same,
    keep_pieces,
    lines_of,
    merging,
    pieces_of,
    whole_shards,
)

SETTINGS: dict[str, Any] = {"command": "count", "max-pixels": 3}


@given(st.integers(0, 200), st.integers(1, 30), st.integers(1, 9))
def test_shards_are_contiguous_and_hold_everything_once(total: int, count: int, unit: int) -> None:
    spans = [Shard(k, count).of(total, unit) for k in range(count)]
    assert [i for span in spans for i in span] == list(range(total))
    assert all(span.start % unit == 0 or span.start == total for span in spans)
    units = [-(-len(span) // unit) for span in spans]
    assert max(units) - min(units) <= 1


def test_a_shard_reads_as_it_is_written() -> None:
    assert [str(Shard.parse(text)) for text in ("0/1", "3/4", f"0/{MOST_SHARDS}")] == ["0/1", "3/4", f"0/{MOST_SHARDS}"]


@pytest.mark.parametrize("text", ["4/4", "1/0", "0/0", f"0/{MOST_SHARDS + 1}"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"must be I/N with I from 0 to N - 1, .* not {text}. The first of four"):
        Shard.parse(text)


@pytest.mark.parametrize("text", ["", "1", "-1/4", "a/b", "1/4/5", "1 / 4", "٣/٤", "0/4\n"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"must be I/N, such as 0/4 for the first of four shards, not"):
        Shard.parse(text)


def make(out: Path, index: int, count: int = 3, total: int = 10, **changes: Any) -> ShardFolder:
    """Keep the squares of some of the first numbers."""
    folder = ShardFolder(out, Shard(index, count), ("count", "--shard", f"{index}/{count}", "a b"))
    span = folder.shard.of(total)

    def squares(kept: LineLog) -> Iterator[Any]:
        for k in span[kept.kept :]:
            if k == changes.get("dies_at"):
                raise KeyboardInterrupt
            yield {"square": k * k}

    settings = {**SETTINGS, **{name: value for name, value in changes.items() if name in SETTINGS}}
    keep_pieces(folder, settings, span, total, squares, changes.get("overwrite", False))
    return folder


@pytest.mark.parametrize("count", range(1, 8))
def test_the_pieces_of_all_shards_are_those_of_the_whole(tmp_path: Path, count: int) -> None:
    for index in reversed(range(count)):
        make(tmp_path / "out", index, count)
    shards = whole_shards(tmp_path / "out")
    assert list(pieces_of(shards)) == [{"square": k * k} for k in range(10)]
    check_same(shards, SETTINGS)


def test_a_shard_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    wanted = make(tmp_path / "whole", 1).pieces.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", 1, dies_at=5)
    folder = tmp_path / "out.shards" / "1-of-3"
    assert not (folder / "shard.json").exists()
    with (folder / "pieces").open("ab") as file:
        file.write(b'{"squ')
    assert make(tmp_path / "out", 1).pieces.read_bytes() == wanted


def test_a_whole_shard_is_left_alone(tmp_path: Path) -> None:
    folder = make(tmp_path / "out", 0)
    before = (folder.path / "shard.json").stat().st_mtime_ns
    make(tmp_path / "out", 0, dies_at=0)
    assert (folder.path / "shard.json").stat().st_mtime_ns == before
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", 0, dies_at=0, overwrite=True)
    assert not (folder.path / "shard.json").exists()


@pytest.mark.parametrize("dies_at", [None, 2])
def test_a_shard_with_other_settings_is_not_continued(tmp_path: Path, dies_at: int | None) -> None:
    try:
        make(tmp_path / "out", 0, dies_at=dies_at)
    except KeyboardInterrupt:
        assert dies_at
    with pytest.raises(CheckpointError, match=r"the same max-pixels, but max-pixels was 3 and is 4.*--overwrite"):
        make(tmp_path / "out", 0, **{"max-pixels": 4})
    assert make(tmp_path / "out", 0, overwrite=True, **{"max-pixels": 4}).pieces.is_file()


def test_missing_shards_are_named_with_their_commands(tmp_path: Path) -> None:
    make(tmp_path / "out", 1)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", 2, dies_at=8)
    with pytest.raises(ConfigError) as error:
        whole_shards(tmp_path / "out")
    assert str(error.value) == (
        f"{tmp_path}/out must have 3 whole shards, and 2 are missing: 0/3, 2/3. Make them:\n"
        "  dcap count --shard 0/3 'a b'\n  dcap count --shard 2/3 'a b'"
    )
    make(tmp_path / "out", 0)
    make(tmp_path / "out", 2)
    assert len(whole_shards(tmp_path / "out")) == 3


def test_an_output_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"out must have shards beside it, in the folder .*out\.shards, and there is"):
        whole_shards(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"the output of shards must be a file, not \."):
        whole_shards(Path("."))
    (tmp_path / "out.shards").mkdir()
    with pytest.raises(ConfigError, match="must have shards that are whole"):
        whole_shards(tmp_path / "out")


def test_shards_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    for index in range(3):
        make(tmp_path / "out", index)
    place = tmp_path / "out.shards"
    shutil.copytree(place / "1-of-3", place / "copy")
    with pytest.raises(ConfigError, match=r"1-of-3/shard\.json and .*copy/shard\.json must be different .* are 1/3"):
        whole_shards(tmp_path / "out")
    shutil.rmtree(place / "copy")
    make(tmp_path / "out", 2, overwrite=True, **{"max-pixels": 4})
    said = r"1-of-3/shard\.json and .*2-of-3/shard\.json must be made with the same max-pixels: max-pixels is 3 in the "
    with pytest.raises(ConfigError, match=said + "first and 4 in the second"):
        whole_shards(tmp_path / "out")
    shutil.rmtree(place / "2-of-3")
    make(tmp_path / "out", 1, count=2)
    with pytest.raises(ConfigError, match=r"must be of one division, not [01]/3 and 1/[23]|not 1/3 and 1/2"):
        whole_shards(tmp_path / "out")


def test_shards_of_another_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "out", 0, count=2)
    monkeypatch.setattr("dcap.core.shard.__version__", "99.0")
    make(tmp_path / "out", 1, count=2)
    with pytest.raises(ConfigError, match=r'the same dcap: dcap is ".*" in the first and "99\.0" in the second'):
        whole_shards(tmp_path / "out")


def test_shards_of_data_that_has_grown_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "out", 0, count=2)
    make(tmp_path / "out", 1, count=2, total=12)
    with pytest.raises(ConfigError, match=r"1-of-2/shard\.json must begin at item 5, .* not at 6"):
        whole_shards(tmp_path / "out")


def test_what_has_changed_since_is_named(tmp_path: Path) -> None:
    make(tmp_path / "out", 0, count=1)
    way_out = (
        r"\. Bring back what has changed, or make each part anew, such as dcap count --shard 0/1 'a b' --overwrite$"
    )
    with pytest.raises(ConfigError, match=f"same max-pixels as there is now, but max-pixels was 3 and is 4{way_out}"):
        check_same(whole_shards(tmp_path / "out"), {**SETTINGS, "max-pixels": 4})


@pytest.mark.parametrize("damage", ["marker", "pieces", "cut"])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: str) -> None:
    folder = make(tmp_path / "out", 0, count=1)
    if damage == "marker":
        marker = folder.path / "shard.json"
        marker.write_text(json.dumps({**json.loads(marker.read_text()), "pieces": 3}))
    elif damage == "pieces":
        folder.pieces.write_bytes(folder.pieces.read_bytes().replace(b"81", b"82"))
    else:
        folder.pieces.write_bytes(folder.pieces.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"shard .*0-of-1 must be whole") as error:
        whole_shards(tmp_path / "out")
    way_out = "start its command again, with" if damage == "marker" else "anew:\n  dcap count"
    assert way_out in str(error.value)


def rewritten(folder: ShardFolder, **changes: Any) -> None:
    """Change what a marker says, and its digest with it."""
    meta = json.loads((folder.path / "shard.json").read_text())
    del meta["sha256"], meta["files"]
    tree = {name: value for name, value in (meta | changes).items() if value is not None}
    write_marker(folder.path, "shard.json", tree, ["pieces", "pieces.meta.json"])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("stop", float("inf"), "stop must be an integer, not Infinity"),
        ("stop", True, "stop must be an integer, not true"),
        ("start", 5.0, "start must be an integer, not 5.0"),
        ("start", -1, "start, stop and total must rise from 0"),
        ("total", 10**40, "start, stop and total must rise from 0"),
        ("pieces", 10**400, "pieces must be from 0"),
        ("pieces", False, "pieces must be an integer, not false"),
        ("made_with", [1, 2], "made_with must be a mapping, not [1, 2]"),
        ("made_with", None, "made_with must be given"),
        ("command", "count", 'command must be a list, not "count"'),
        ("command", ["count", 3], "command[1] must be a string, not 3"),
        ("shard", "5/3", "--shard must be I/N"),
        ("shard", 1, "shard must be a string, not 1"),
        ("other", 1, "other"),
    ],
)
def test_odd_values_of_a_marker_are_named_with_the_command_that_mends_them(
    tmp_path: Path, name: str, value: Any, said: str
) -> None:
    folders = [make(tmp_path / "out", index) for index in range(3)]
    rewritten(folders[1], **{name: value})
    with pytest.raises(CheckpointError) as error:
        whole_shards(tmp_path / "out")
    first, command = str(error.value).splitlines()
    assert first.startswith(f"{tmp_path}/out.shards/1-of-3/shard.json must describe a shard: ")
    assert said in first
    assert command == "  dcap count --shard 1/3 'a b' --overwrite"
    with pytest.raises(CheckpointError, match="Give --overwrite to make the shard anew"):
        make(tmp_path / "out", 1)
    make(tmp_path / "out", 1, overwrite=True)
    assert len(whole_shards(tmp_path / "out")) == 3


def test_a_marker_that_is_a_folder_or_leads_nowhere_is_named(tmp_path: Path) -> None:
    make(tmp_path / "out", 0, count=2)
    place = tmp_path / "out.shards" / "1-of-2"
    (place / "shard.json").mkdir(parents=True)
    way_out = r"1-of-2/shard\.json.*\n  dcap count --shard 1/2 'a b' --overwrite"
    with pytest.raises(CheckpointError, match=way_out):
        whole_shards(tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"shard\.json must be a file, not a folder\. Delete it"):
        make(tmp_path / "out", 1, count=2, overwrite=True)
    (place / "shard.json").rmdir()
    (place / "shard.json").symlink_to("nowhere")
    with pytest.raises(CheckpointError, match=way_out):
        whole_shards(tmp_path / "out")
    make(tmp_path / "out", 1, count=2, overwrite=True)
    assert len(whole_shards(tmp_path / "out")) == 2


def test_a_shard_is_whole_before_another_run_may_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = ShardFolder.finish, list[str]()

    def finish(self: ShardFolder, *rest: Any) -> None:
        with pytest.raises(CheckpointError, match=r"pieces must be used by one run at a time"):
            make(tmp_path / "out", 0, overwrite=True)
        refused.append("the other run")
        real(self, *rest)

    monkeypatch.setattr(ShardFolder, "finish", finish)
    make(tmp_path / "out", 0)
    assert refused == ["the other run"]


def test_a_run_that_is_refused_leaves_the_marker(tmp_path: Path) -> None:
    folder = make(tmp_path / "out", 0, count=1)
    with LineLog(folder.pieces, {}, overwrite=True), pytest.raises(CheckpointError, match="one run at a time"):
        make(tmp_path / "out", 0, count=1, overwrite=True)
    assert len(whole_shards(tmp_path / "out")) == 1


def test_shards_are_merged_by_one_run_at_a_time(tmp_path: Path) -> None:
    make(tmp_path / "out", 0, count=1)
    with merging(tmp_path / "out") as shards:
        assert len(shards) == 1
        with pytest.raises(
            CheckpointError, match=r"out\.shards must have one owner at a time.*Wait for the other dcap"
        ):
            merging(tmp_path / "out").__enter__()
    assert len(whole_shards(tmp_path / "out")) == 1


@pytest.mark.parametrize("read", [pieces_of, lines_of])
def test_a_shard_is_not_made_anew_while_it_is_merged(tmp_path: Path, read: Callable[[Any], Iterator[Any]]) -> None:
    folder = make(tmp_path / "out", 0, count=1)
    shards = whole_shards(tmp_path / "out")
    lines = read(shards)
    next(lines)
    with pytest.raises(CheckpointError, match="one run at a time, and another one writes or merges it"):
        make(tmp_path / "out", 0, count=1, overwrite=True)
    assert len(list(lines)) == 9
    changed = r"0-of-1 must stay as it is while it is merged, and another run makes it anew\. Wait"
    with LineLog(folder.pieces, {}, overwrite=True), pytest.raises(CheckpointError, match=changed):
        next(read(shards))
    make(tmp_path / "out", 0, count=1, overwrite=True)
    with pytest.raises(CheckpointError, match=changed):
        next(read(shards))


def test_a_merge_holds_one_piece_at_a_time(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "out", Shard(0, 1), ("count",))
    keep_pieces(folder, SETTINGS, range(4000), 4000, lambda _: ({"long": "x" * 1000} for _ in range(4000)), False)
    shards = whole_shards(tmp_path / "out")
    assert folder.pieces.stat().st_size > 4_000_000
    tracemalloc.start()
    try:
        assert sum(len(piece["long"]) for piece in pieces_of(shards)) == 4_000_000
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()
