"""Files, links and folders: whole or nothing, and which leftovers go."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dcap.core import files as scratch
from dcap.core.errors import CheckpointError, OutputError
from dcap.core.files import (
    folder_written_whole,
    point_at,
    remove_leftovers,
    replace_folder,
    require_file,
    why_no_file,
    write_whole,
    writing,
    written_whole,
)


def aged(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def write_half(place: Path) -> None:
    with written_whole(place) as file:
        file.write(b"half of the ne")
        raise RuntimeError


def leftovers(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith("."))


def test_a_block_that_raises_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "new" / "a"
    with written_whole(place) as file:
        file.write(b"old")
    with pytest.raises(RuntimeError):
        write_half(place)
    assert place.read_bytes() == b"old"
    assert os.listdir(place.parent) == ["a"]


def test_the_place_is_whole_at_any_time(tmp_path: Path) -> None:
    place = tmp_path / "a"
    with written_whole(place, durable=True) as file:
        file.write(b"x" * 100_000)
        assert not place.exists()
    assert place.read_bytes() == b"x" * 100_000


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """A longer file is an error of the system, as on a disk that is full."""
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("num_bytes", [5_000, 5_000_000], ids=["at the flush", "at the write"])
def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path: Path, num_bytes: int) -> None:
    place = tmp_path / "a"
    place.write_text("old")
    with files_of_at_most(4_000), pytest.raises(OutputError, match=r"/a: file must be writable, and is not: .* room\."):
        write_whole(place, b"x" * num_bytes)
    assert place.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]
    folder = tmp_path / "b"
    with (
        files_of_at_most(4_000), pytest.raises(OutputError, match="/b: file must be writable"),
        folder_written_whole(folder) as new,
    ):  # fmt: skip
        (new / "c").write_bytes(b"x" * num_bytes)
    assert os.listdir(tmp_path) == ["a"]


def test_an_error_of_the_sync_is_named_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a").write_text("old")
    with pytest.raises(OutputError, match=r"No space left on device\. Make room"):
        write_whole(tmp_path / "a", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(CheckpointError, match=r"/link: file must exist, and is a link to gone, which does not\."):
        require_file(tmp_path / "link", "file", CheckpointError)


@pytest.mark.parametrize("name", ["file/a", "file/folder/a", "x" * 300, "x" * 300 + "/a", "/proc/none/a"])
def test_a_place_that_cannot_be_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file must be writable, and is not: .* Choose another place"):
        write_whole(tmp_path / name, "new")
    with pytest.raises(OutputError, match="file must be writable"), folder_written_whole(tmp_path / name):
        pass


def test_errors_of_other_files_are_not_of_the_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"), written_whole(tmp_path / "a"):
        (tmp_path / "gone").read_bytes()
    with pytest.raises(OutputError, match="/b: "), writing(tmp_path / "a"), writing(tmp_path / "b"):
        (tmp_path / "gone").read_bytes()
    assert os.listdir(tmp_path) == []


def test_text_and_bytes_are_written_whole(tmp_path: Path) -> None:
    for data in ("ä\n", b"\xff", ""):
        write_whole(tmp_path / "new" / "a", data)
        assert (tmp_path / "new" / "a").read_bytes() == (data if isinstance(data, bytes) else data.encode())
    assert os.listdir(tmp_path / "new") == ["a"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "a").symlink_to("real/b")
    for data in ("first", "second"):
        write_whole(tmp_path / "a", data)
        assert (tmp_path / "a").is_symlink()
        assert (tmp_path / "real" / "b").read_text() == data
    assert sorted(os.listdir(tmp_path)) == ["a", "real"]


@pytest.mark.parametrize("target", ["pipe", "file"])
def test_standard_output_is_written_to(tmp_path: Path, target: str) -> None:
    program = "from pathlib import Path; from dcap.core.files import write_whole; write_whole(Path('/dev/stdout'), 'ä')"
    before = os.readlink("/dev/stdout")
    if target == "pipe":
        out = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, timeout=60).stdout
    else:
        with (tmp_path / "out").open("wb") as file:
            subprocess.run([sys.executable, "-c", program], stdout=file, check=True, timeout=60)
        out = (tmp_path / "out").read_bytes()
    assert out.decode() == "ä"
    assert os.readlink("/dev/stdout") == before


def test_standard_output_keeps_what_others_write_to_its_file(tmp_path: Path) -> None:
    program = "from pathlib import Path; from dcap.core.files import write_whole; write_whole(Path('/dev/stdout'), 'b')"
    with (tmp_path / "out").open("wb", buffering=0) as file:
        file.write(b"a")
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True, timeout=60)
        file.write(b"c")
    assert (tmp_path / "out").read_bytes() == b"abc"


@pytest.mark.parametrize("name", ["a" * 238, "a" * 255, "ä" * 127])
def test_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    left = tmp_path / f".{name[: 237 // len(name[0].encode())]}.{'0' * 16}"
    left.touch()
    os.utime(left, (0, 0))
    write_whole(tmp_path / name, "x")
    assert os.listdir(tmp_path) == [name]


def test_links_in_a_circle_are_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(tmp_path / "a", "x")


def write_half_a_folder(place: Path) -> None:
    with folder_written_whole(place) as folder:
        (folder / "half").write_text("")
        raise RuntimeError


def test_a_folder_replaces_an_older_one_when_it_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "x"
    for text in ("old", "new"):
        with folder_written_whole(place) as folder:
            (folder / "part").mkdir()
            (folder / "part" / "a").write_text(text)
            assert place.exists() == (text == "new")
        assert (place / "part" / "a").read_text() == text
    with pytest.raises(RuntimeError):
        write_half_a_folder(place)
    assert (place / "part" / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["x"]


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "x"
    with folder_written_whole(place) as folder:
        (folder / "a").write_text("first")
        with pytest.raises(OutputError, match="must have one writer at a time"), folder_written_whole(place):
            pass
        assert (folder / "a").read_text() == "first"
    assert (place / "a").read_text() == "first"
    assert os.listdir(tmp_path) == ["x"]


def test_leftovers_of_a_killed_writer_do_not_get_into_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".writing-x" / "part").mkdir(parents=True)
    (tmp_path / ".writing-x" / "link").symlink_to("part")
    with folder_written_whole(tmp_path / "x") as folder:
        (folder / "a").touch()
    assert os.listdir(tmp_path / "x") == ["a"]


def test_an_exchange_that_fails_leaves_the_older_folder(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").touch()
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "gone", tmp_path / "x")
    assert os.listdir(tmp_path / "x") == ["a"]


def test_a_link_points_elsewhere_in_one_step(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "deep" / name).mkdir(parents=True)
        point_at(tmp_path / "best", tmp_path / "deep" / name)
        assert (tmp_path / "best").readlink() == Path("deep", name)
    assert sorted(os.listdir(tmp_path)) == ["best", "deep"]


WRITER = """
import sys
from pathlib import Path
from dcap.core.files import written_whole
with written_whole(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.readline()
"""


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl.dcap-index"
    command = [sys.executable, "-c", WRITER, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin
        assert writer.stdout
        assert writer.stdout.readline() == b"writing\n"
        (name,) = leftovers(tmp_path)
        aged(tmp_path / name, 2 * scratch.LEAST_AGE_S)
        remove_leftovers(place)
        assert leftovers(tmp_path) == [name]  # old, but locked
        writer.send_signal(signal.SIGKILL)
        writer.wait(240)
    assert leftovers(tmp_path) == [name]
    os.utime(tmp_path / name)
    remove_leftovers(place)
    assert leftovers(tmp_path) == [name]  # free, but young
    aged(tmp_path / name, 2 * scratch.LEAST_AGE_S)
    with written_whole(place) as file:
        file.write(b"whole")
    assert os.listdir(tmp_path) == [place.name]


OTHERS = [".a.0123456789abcde", ".a.0123456789abcdeF", "a.0123456789abcdef", ".b.0123456789abcdef"]


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_others_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    aged(tmp_path / name, 1e6)
    remove_leftovers(tmp_path / "a")
    assert os.listdir(tmp_path) == [name]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    aged(tmp_path / "precious", 1e6)
    (tmp_path / ".a.0123456789abcdef").symlink_to("precious")
    remove_leftovers(tmp_path / "a")
    assert (tmp_path / "precious").is_file()


def test_a_scratch_file_that_was_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = scratch.fcntl.flock, []

    def remove_first(file: object, how: int) -> None:
        if not taken:
            taken.append(Path(file.name))
            taken[0].unlink()
        lock(file, how)

    monkeypatch.setattr(scratch.fcntl, "flock", remove_first)
    with written_whole(tmp_path / "a") as file:
        file.write(b"whole")
    assert taken
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_a_path_that_is_no_file_says_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    reasons = {
        "gone": "missing",
        "file/below": "missing",
        ".": "a folder",
        "pipe": "a pipe or device",
        "file": "",
        "a\0b": "a name with the NUL character",
        "x" * 300: "one that cannot be opened (File name too long)",
        "circle": "one that cannot be opened (Too many levels of symbolic links)",
    }
    assert {name: why_no_file(tmp_path / name) for name in reasons} == reasons


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "{}/gone: plan must exist. Write it first."),
        (".", "{}: plan must be a regular file, not a folder. Name a file in it."),
        (
            "x" * 300,
            "{}/" + "x" * 300 + ": plan must be a regular file, not one that cannot be opened (File name too long).",
        ),
    ],
)
def test_a_required_file_is_named_with_the_way_out(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        require_file(tmp_path / name, "plan", CheckpointError, "Write it first.")
    assert str(caught.value) == message.format(tmp_path)
