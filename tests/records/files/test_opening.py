"""Opening annotation files: names, wildcards, ranges, folders and bundled data, and which reader each file has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dcap.core.errors import ConfigError, RecordError
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.opening import ENDINGS, expand_sources, is_known, open_records, open_source, resolve_data
from dcap.records.images import decode_image
from dcap.records.record import image_path
from support.container_cases import parquet_rows, samples, write_parquet, write_tar

LINE = b'{"images": ["a.png"], "width": 4, "height": 3, "objects": []}'


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json"])
def test_lines_of_json(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(LINE)
    assert isinstance(open_source(str(path)), JsonlFile)


@pytest.mark.parametrize("name", ["a", "a.csv", "a.tar.gz", "a.gz", "a.jsonl.bz2", "a.parquet.gz", "a.tar.dcap-index"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(LINE)
    assert not is_known(name)
    way_out = "Unpack it, and name what is inside" if name == "a.tar.gz" else "Rename the file by what it holds"
    with pytest.raises(RecordError, match=rf"name must end in .jsonl, .*, .parquet, .tar. {way_out}"):
        open_source(tmp_path / name)


def test_every_known_ending_opens_something(tmp_path: Path) -> None:
    for ending in ENDINGS:
        with pytest.raises(RecordError, match="file must exist"):
            open_source(tmp_path / f"nowhere{ending}")


def test_records_of_several_files_are_one_sequence(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", samples(2))
    (tmp_path / "b.jsonl").write_bytes(b"")
    write_parquet(tmp_path / "c.parquet", parquet_rows(3))
    records = open_records(tmp_path)
    assert len(records) == 5
    places = ["a.tar:1", "a.tar:2", "c.parquet:1", "c.parquet:2", "c.parquet:3"]
    assert [str(record.origin) for record in records] == places
    assert [str(record.origin) for record in records[1:4]] == places[1:4]
    assert str(records[-1].origin) == "c.parquet:3"
    name = re.escape(f"{tmp_path}/a.tar and 2 more files")
    with pytest.raises(IndexError, match=f"^{name}: index must be from -5 to below 5, the number of records, not 5$"):
        records[5]
    with pytest.raises(IndexError, match="not -6"):
        records[-6]
    assert len(open_records([tmp_path / "c.parquet", tmp_path / "a.tar", "builtin:photos/val.jsonl"])) > 5


def test_one_name_opens_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE + b"\nnonsense")
    records = open_records(str(tmp_path / "a.jsonl"))
    assert records[0].image == "a.png"
    with pytest.raises(RecordError, match=r"^a\.jsonl:2: "):
        records[1]
    with pytest.raises(RecordError, match="file must exist"):
        open_records(tmp_path / "b.jsonl")


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
        (["empty"], "'empty' must hold at least one file .* not nothing. Name another folder"),
        (["zips"], "not 1 other name, such as a.zip. Unpack the archives"),
        (["d/t-{07..10}.tar"], "1 of 4 do not, such as d/t-07.tar"),
        (["d/{1..1}*.tar"], "'d/1[*].tar' must match at least one file"),
        (["d/t-{9..8}.tar"], "must name 1 to 100000 files, not 0"),
        (["d/t-{0..99}{0..9999}.tar"], "must name 1 to 100000 files, not 1000000"),
        (["d", "d/b.jsonl"], "d/b.jsonl: file must be named once, not by 'd' and by 'd/b.jsonl'"),
        (["d/b.jsonl", "d/*.jsonl"], "d/b.jsonl: file must be named once, not by 'd/b.jsonl' and by 'd/[*].jsonl'"),
        (["d/*.jsonl", "d/*.jsonl"], "file must be named once, not by 'd/[*].jsonl' twice"),
        (["d/*.tar", "d/t-{08..09}.tar"], "file must be named once"),
        (["builtin:nothing.jsonl"], "must name bundled data"),
    ],
)
def test_names_that_cannot_be_meant(folder: Path, names: list[str], said: str) -> None:
    (folder / "empty").mkdir()
    (folder / "zips").mkdir()
    (folder / "zips" / "a.zip").touch()
    with pytest.raises(ConfigError, match=said.replace("*.csv' must", "[*].csv' must")):
        expand_sources(names)


@pytest.mark.parametrize("name", ["train", "val", "photos"])
def test_bundled_photos_are_good(name: str) -> None:
    file = JsonlFile(resolve_data(f"builtin:photos/{name}.jsonl"))
    assert len(file) > 0
    for record in file:
        image = decode_image(image_path(record, file.path.parent), record.canvas)
        assert image.shape == (record.canvas.height, record.canvas.width, 3)
        assert len(record.shapes) > 0
        assert record.summary


def test_other_paths_stay() -> None:
    assert resolve_data("data/train.jsonl") == Path("data/train.jsonl")


@pytest.mark.parametrize("name", ["photos/trian.jsonl", "photos/../../core/errors.py", "", "photos/images/coffee.png"])
def test_what_is_not_bundled_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'builtin:{name}' must name bundled data"):
        resolve_data(f"builtin:{name}")


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(ConfigError, match=r"did you mean photos/train.jsonl\?"):
        resolve_data("builtin:photos/trian.jsonl")
