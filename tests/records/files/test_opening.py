"""Which name means which reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.core.errors import RecordError
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.opening import ENDINGS, is_known, open_source

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
    with pytest.raises(RecordError, match=r"name must end in .jsonl, .*, .parquet, .tar. Rename"):
        open_source(tmp_path / name)


def test_every_known_ending_opens_something(tmp_path: Path) -> None:
    for ending in ENDINGS:
        with pytest.raises(RecordError, match="file must exist"):
            open_source(tmp_path / f"nowhere{ending}")
