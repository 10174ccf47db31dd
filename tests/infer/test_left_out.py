import pytest

from dcap.core.errors import CheckpointError, ImageError
from dcap.infer.left_out import LeftOut, list_path, read_list, write_list
from dcap.records.bad_records import BadRecord
from dcap.records.json_line import Problem
from dcap.records.record import Origin

ORIGIN = Origin("data/a.jsonl", 3)


def test_entries_name_file_line_and_everything_that_is_wrong():
    bad = BadRecord(ORIGIN, (Problem("width", "must be given"), Problem("height", "must be given")), "{}")
    assert LeftOut.of_check(bad) == LeftOut("data/a.jsonl", 3, "a.jsonl:3: width must be given; height must be given")
    assert LeftOut.of_error(ORIGIN, ImageError("a.jsonl:3: torn")) == LeftOut("data/a.jsonl", 3, "a.jsonl:3: torn")


def test_list_reads_back_and_an_empty_one_is_no_file(tmp_path):
    out = tmp_path / "pred.jsonl"
    items = [LeftOut("a.jsonl", 1, "ä\nb"), LeftOut("a.jsonl", 2, "c")]
    write_list(out, items)
    assert read_list(out) == items
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pred.jsonl.bad_records.jsonl"]
    write_list(out, [])
    assert read_list(out) == []
    assert not list_path(out).exists()


@pytest.mark.parametrize("text", ["{", '{"file": 1}\n', "[]\n"])
def test_damaged_list_is_an_error(tmp_path, text):
    list_path(tmp_path / "pred.jsonl").write_text(text)
    with pytest.raises(CheckpointError, match=r"bad_records\.jsonl must list records.*Delete it"):
        read_list(tmp_path / "pred.jsonl")
