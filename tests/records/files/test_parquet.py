"""Records of Parquet files: columns are keys, nulls absent keys, images paths or bytes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from dcap.core.errors import ImageError, MissingPackageError, RecordError
from dcap.records.checking import ImageRules, check_records
from dcap.records.files import parquet
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.opening import open_source
from dcap.records.files.source import RecordSource
from dcap.records.images import decode_image
from dcap.records.record import Record, image_source, to_dict
from support.container_cases import annotation, parquet_rows, picture, write_parquet


def source_of(tmp_path: Path, *rows: dict[str, Any], schema: Any = None, **options: Any) -> RecordSource:
    return open_source(write_parquet(tmp_path / "a.parquet", list(rows), schema, **options))


def shade(record: Record) -> int:
    image = decode_image(image_source(record), record.canvas)
    assert (image == image[0, 0, 0]).all()
    return int(image[0, 0, 0])


SHAPES: list[dict[str, Any]] = [
    {"images": ["0.png"], "width": 40, "height": 30, "objects": [], "summary": "nothing"},
    {
        "images": ["sub/1.png"], "width": 40, "height": 30, "metadata": {"split": "a", "year": 2020}, "license": "CC0",
        "objects": [
            {"desc": "cup", "bbox_2d": [1, 2.5, 30, 20], "attributes": {"color": "red"}},
            {"desc": "roof", "poly": [1, 1, 9, 1, 5, 8], "poly_points": 3, "score": 0.5},
            {"desc": "wire", "line": [0, 0, 40, 30]},
        ],
    },
    {"images": ["2.png"], "width": 7, "height": 9, "objects": [{"desc": "c", "line": [-5, 1, 5, 1]}], "metadata": {}},
]  # fmt: skip


def as_strings(row: dict[str, Any]) -> dict[str, Any]:
    return {key: json.dumps(value) if key in ("objects", "metadata") else value for key, value in row.items()}


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("group", [1, 2, 100])
def test_records_are_those_of_jsonl(tmp_path: Path, strings: bool, group: int) -> None:
    """Nulls fill what a row lacks, in the table and in structs, and are no keys."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SHAPES))
    columns = {key for row in SHAPES for key in row}
    rows = [dict.fromkeys(columns) | row for row in SHAPES]
    source = source_of(tmp_path, *(as_strings(row) if strings else row for row in rows), row_group_size=group)
    assert [to_dict(record) for record in source] == [to_dict(record) for record in JsonlFile(tmp_path / "a.jsonl")]
    assert [str(record.origin) for record in source] == ["a.parquet:1", "a.parquet:2", "a.parquet:3"]
    assert (source[-1], source[-1].clipped) == (source[2], (0,))
    for index in (3, -4):
        for read in (source.__getitem__, source.origin, source.line, source.explain, source.embedded):
            with pytest.raises(IndexError, match=rf"a\.parquet: index must be from -3 to below 3, .*, not {index}$"):
                read(index)


STRUCT = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(3)]
NAMELESS = [{"bytes": picture(i), "path": None} for i in range(3)]
LAYOUTS: dict[str, list[dict[str, Any]]] = {
    "struct": [{"image": cell} for cell in STRUCT],
    "struct without a path": [{"image": {"bytes": cell["bytes"]}} for cell in STRUCT],
    "struct with null paths": [{"image": cell} for cell in NAMELESS],
    "bytes": [{"image": cell["bytes"]} for cell in STRUCT],
    "list of structs": [{"images": [cell]} for cell in STRUCT],
    "list of null paths": [{"images": [cell]} for cell in NAMELESS],
    "list of bytes": [{"images": [cell["bytes"]]} for cell in STRUCT],
    "bytes with names": [{"images": [cell["path"]], "image": cell["bytes"]} for cell in STRUCT],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("statistics", [True, False])
def test_images_inside_the_file(tmp_path: Path, layout: str, statistics: bool) -> None:
    rows = [annotation(i, **image) for i, image in enumerate(LAYOUTS[layout])]
    source = source_of(tmp_path, *rows, row_group_size=2, write_statistics=statistics)
    named = layout in ("struct", "list of structs", "bytes with names")
    assert [record.image for record in source] == [f"{i}.png" if named else f"a.parquet/{i + 1}" for i in range(3)]
    assert [shade(record) for record in source] == [0, 1, 2]
    assert len(check_records([source.path], "error", ImageRules(root=tmp_path / "root", decode=True))) == 3


@pytest.mark.parametrize("statistics", [True, False])
def test_images_beside_the_file(tmp_path: Path, statistics: bool) -> None:
    for i in range(4):
        Image.fromarray(np.full((8, 12, 3), 100 + i, np.uint8)).save(tmp_path / f"{i}.png")
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    paths = pa.Table.from_pylist([annotation(i, image=f"{i}.png") for i in range(4)]).schema
    mixed = paths.set(paths.get_field_index("image"), pa.field("image", struct))
    cells = [{"bytes": None, "path": f"{i}.png"} for i in range(3)] + [STRUCT[2]]
    source = source_of(
        tmp_path, *(annotation(i, image=cell) for i, cell in enumerate(cells)), schema=mixed, row_group_size=2,
        write_statistics=statistics,
    )  # fmt: skip
    assert [shade(record) for record in source] == [100, 101, 102, 2]
    assert [record.embedded is None for record in source] == [True, True, True, False]
    with pytest.raises(RecordError, match=r"a.parquet:1: images\[0\] must stay inside data.root"):
        image_source(source[0], tmp_path / "root")
    plain = source_of(tmp_path, *(annotation(i, image=f"{i}.png") for i in range(4)))
    assert [shade(record) for record in plain] == [100, 101, 102, 103]


def test_planning_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(tmp_path, *parquet_rows(5), row_group_size=2)
    monkeypatch.setattr(parquet.ParquetRecords, "_bytes", None)
    assert [record.summary for record in source] == [f"picture {i}" for i in range(5)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": None}, "images must be given"),
        ({"images": ["a", "b"]}, r"images must be a list of one path"),
        (
            {"images": [{"bytes": b"a", "path": "a"}, {"bytes": b"b", "path": "b"}]},
            r"images must be a list of one path",
        ),
        ({"images": [{"bytes": b"a"}, {"bytes": b"b"}]}, r"images must be given"),
        ({"images": []}, "images must be a list of one path"),
        ({"images": "a.png"}, "images must be a list of one path"),
        ({"image": "a.png", "width": None}, "width must be given"),
        ({"image": "a.png", "objects": None}, "objects must be given"),
        ({"image": "a.png", "objects": "[1"}, "objects must be a list"),
        ({"image": "a.png", "objects": '[], "summary": "injected"'}, "objects must be a list"),
        ({"image": "a.png", "objects": '[{"desc": "a", "desc": "b"}]'}, 'key "desc" must be given once'),
        ({"image": "a.png", "objects": [{"desc": "a", "bbox_2d": [1.0, float("nan"), 3.0, 4.0]}]}, r"bbox_2d"),
        ({"image": "a.png", "objects": [{"desc": "a", "bbox_2d": [1, None, 3, 4]}]}, r"objects\[0\].bbox_2d"),
    ],
)
def test_the_rules_are_those_of_jsonl(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError, match=rf"^a.parquet:1: .*{said}"):
        source_of(tmp_path, annotation(0) | row)[0]


def test_columns_of_other_kinds(tmp_path: Path) -> None:
    import datetime

    row = annotation(0, image="a.png", embedding=b"\x00\xff", taken=datetime.datetime(2020, 1, 2), weight=0.5)
    schema = pa.Table.from_pylist([row]).schema.append(pa.field("metadata", pa.map_(pa.string(), pa.int64())))
    record = source_of(tmp_path, row | {"metadata": [("year", 2020)]}, schema=schema)[0]
    assert record.extra == {"taken": "2020-01-02T00:00:00", "weight": 0.5}
    assert record.metadata == {"year": 2020}


@pytest.mark.parametrize(
    "values",
    [
        pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")),
        pa.array([2**30], pa.date32()),
        pa.array([2**62], pa.duration("s")),
    ],
    ids=["no UTF-8", "date", "duration"],
)
def test_values_that_cannot_be_read_are_an_error(tmp_path: Path, values: Any) -> None:
    row = {"images": [["0.png"]], "width": [4], "height": [4], "objects": ["[]"]}
    pa.parquet.write_table(pa.table({**row, "kind": values}), tmp_path / "a.parquet")
    with pytest.raises(RecordError, match=r"a.parquet:1: row must hold values that can be read"):
        open_source(tmp_path / "a.parquet")[0]


def test_an_image_too_large_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", parquet_rows(1))
    record = parquet.ParquetRecords(path, max_image_bytes=len(picture(0)) - 1)[0]
    with pytest.raises(ImageError, match=r"^a.parquet:1: image in row 1 of a.parquet must have at most \d+ bytes, not"):
        decode_image(image_source(record), None, origin=record.origin)


def test_what_datasets_writes_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is an oracle only")
    features = datasets.Features(
        {
            "image": datasets.Image(), "width": datasets.Value("int32"), "height": datasets.Value("int32"),
            "objects": [{"desc": datasets.Value("string"), "bbox_2d": [datasets.Value("float32")]}],
            "summary": datasets.Value("string"),
        }
    )  # fmt: skip
    images = [Image.fromarray(np.full((8, 12, 3), i, np.uint8)) for i in range(3)]
    rows = [annotation(i, image=image) for i, image in enumerate(images)]
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert [shade(record) for record in source] == [0, 1, 2]
    assert source[1].captions == ("thing 1",)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", parquet_rows(1))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r'pyarrow must be installed.*pip install .*\[formats\]"'):
        open_source(path)


def test_nothing_is_written(tmp_path: Path) -> None:
    assert len(list(source_of(tmp_path, *parquet_rows(3)))) == 3
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_a_row_that_cannot_be_read_is_one_bad_record(tmp_path: Path) -> None:
    """The rest of the file can still be used."""
    text = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 2, 2], np.int32)), pa.py_buffer(b"\xff\xfe"))
    row = {"images": [["0.png"]] * 2, "width": [4] * 2, "height": [4] * 2, "objects": ["[]"] * 2}
    pa.parquet.write_table(pa.table({**row, "kind": text}), tmp_path / "a.parquet")
    checked = check_records([tmp_path / "a.parquet"], "skip")
    assert ([bad.origin.line for bad in checked.bad], len(checked)) == ([1], 1)
