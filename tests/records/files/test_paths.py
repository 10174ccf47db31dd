"""What users write for annotation files: names, wildcards, ranges and folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dcap.core.errors import ConfigError
from dcap.records.builtin import resolve_data
from dcap.records.files.paths import expand_sources

NAMES = ["b.jsonl", "a.jsonl.gz", "c.parquet", "t-08.tar", "t-09.tar", "t-10.tar"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d" / "deep").mkdir(parents=True)
    for name in (*NAMES, ".hidden.jsonl", "readme.txt", "b.jsonl.dcap-index", "deep/e.jsonl"):
        (tmp_path / "d" / name).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("d/b.jsonl", ["b.jsonl"]),
        ("d/*.jsonl*", ["a.jsonl.gz", "b.jsonl"]),
        ("d/**/*.jsonl", ["b.jsonl", "deep/e.jsonl"]),
        ("d", sorted(NAMES)),
        ("d/t-{08..10}.tar", ["t-08.tar", "t-09.tar", "t-10.tar"]),
        ("d/t-{0..1}{8..9}.tar", None),
        ("d/t-{9..9}.tar", None),
        ("d/t-0{8..9}.tar", ["t-08.tar", "t-09.tar"]),
        ("d/?-*.tar", ["t-08.tar", "t-09.tar", "t-10.tar"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_name_means_these_files(name: str, want: list[str] | None) -> None:
    if want is None:
        with pytest.raises(ConfigError, match=re.escape(f"{name!r} must name files that exist")):
            expand_sources([name])
    else:
        assert expand_sources([name]) == [Path("d", file) for file in want]


def test_names_keep_their_order(folder: Path) -> None:
    found = expand_sources(["d/t-10.tar", "d/*.jsonl", "builtin:photos/val.jsonl", folder / "d/c.parquet"])
    want = ["d/t-10.tar", "d/b.jsonl", resolve_data("builtin:photos/val.jsonl"), folder / "d/c.parquet"]
    assert found == [Path(path) for path in want]
    assert expand_sources(["x.jsonl", "x.jsonl"]) == [Path("x.jsonl")] * 2
    assert expand_sources([]) == []


def test_a_file_with_signs_in_its_name(folder: Path) -> None:
    for name in ("d/[b].jsonl", "d/x-{1..2}.jsonl"):
        (folder / name).write_bytes(b"")
        assert expand_sources([name]) == [Path(name)]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["d/*.csv"], "'d/*.csv' must match at least one file whose name ends in .jsonl, .* not nothing. Relative"),
        (["d/*.txt"], "not 1 other name, such as readme.txt"),
        (["empty"], "'empty' must hold at least one file"),
        (["d/t-{07..10}.tar"], "1 of 4 do not, such as d/t-07.tar"),
        (["d/{1..1}*.tar"], "'d/1[*].tar' must match at least one file"),
        (["d/t-{9..8}.tar"], "must name 1 to 100000 files, not 0"),
        (["d/t-{0..99}{0..9999}.tar"], "must name 1 to 100000 files, not 1000000"),
        (["d", "d/b.jsonl"], "'d/b.jsonl' must mean other files than 'd', not d/b.jsonl again"),
        (["d/b.jsonl", "d/*.jsonl"], "'d/[*].jsonl' must mean other files than 'd/b.jsonl'"),
        (["d/*.tar", "d/t-{08..09}.tar"], "again"),
        (["builtin:nothing.jsonl"], "must name bundled data"),
    ],
)
def test_names_that_cannot_be_meant(folder: Path, names: list[str], said: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ConfigError, match=said.replace("*.csv' must", "[*].csv' must")):
        expand_sources(names)
