import json

import pytest

from dcap.core.errors import CheckpointError
from dcap.infer.outfile import PredictionFile

MADE_WITH = {"model": "abc", "profile": {"answer": {"format": "qwen"}}, "max-new-tokens": 8}


def line(k, text="x"):
    return {"text": text, "source": {"file": "a.jsonl", "line": k}}


@pytest.fixture
def path(tmp_path):
    with PredictionFile(tmp_path / "new" / "pred.jsonl", MADE_WITH) as file:
        assert (file.kept, file.last) == (0, None)
        file.append([line(1), line(2)])
        file.append([line(4, "ä\n")])
    return tmp_path / "new" / "pred.jsonl"


def test_lines_are_json_and_the_meta_says_what_made_them(path):
    assert [json.loads(row) for row in path.read_text("utf-8").splitlines()] == [line(1), line(2), line(4, "ä\n")]
    meta = json.loads((path.parent / "pred.jsonl.meta.json").read_text())
    assert meta["made_with"] == MADE_WITH


def test_same_settings_continue(path):
    with PredictionFile(path, MADE_WITH) as file:
        assert (file.kept, file.last) == (3, ("a.jsonl", 4))
        file.append([line(5)])
    assert len(path.read_bytes().splitlines()) == 4


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_torn_last_line_is_cut(path, cut):
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with PredictionFile(path, MADE_WITH) as file:
        assert (file.kept, file.last) == (2, ("a.jsonl", 2))
        file.append([line(4, "ä\n")])
    assert path.read_bytes() == whole


def test_nothing_but_a_torn_line(path):
    path.write_bytes(b'{"text": "x", "sou')
    with PredictionFile(path, MADE_WITH) as file:
        assert (file.kept, file.last) == (0, None)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("change", [{"model": "other"}, {"profile": {}}, {"max-new-tokens": 9}, {"new": 1}])
def test_other_settings_are_refused_and_leave_the_file_alone(path, change):
    before = path.read_bytes()
    name, value = next(iter(change.items()))
    was = MADE_WITH.get(name)
    said = (
        rf"profile.answer was {was['answer']!r} and is None"
        if name == "profile"
        else rf"{name} was {was!r} and is {value!r}"
    )
    with pytest.raises(CheckpointError, match=rf"the same {name}.*{said}. .*--overwrite"):
        PredictionFile(path, {**MADE_WITH, **change})
    assert path.read_bytes() == before


def test_overwrite_starts_anew_with_other_settings(path):
    with PredictionFile(path, {**MADE_WITH, "model": "other"}, overwrite=True) as file:
        assert (file.kept, file.last) == (0, None)
        file.append([line(1)])
    assert len(path.read_bytes().splitlines()) == 1
    with PredictionFile(path, {**MADE_WITH, "model": "other"}) as file:
        assert file.kept == 1


def test_file_of_unknown_origin_is_refused(path):
    (path.parent / "pred.jsonl.meta.json").unlink()
    with pytest.raises(CheckpointError, match=r"must have pred\.jsonl\.meta\.json beside it.*--overwrite"):
        PredictionFile(path, MADE_WITH)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_damaged_meta_is_refused(path, text):
    (path.parent / "pred.jsonl.meta.json").write_text(text)
    with pytest.raises(CheckpointError, match="is damaged"):
        PredictionFile(path, MADE_WITH)


@pytest.mark.parametrize("text", ["not json\n", "{}\n", '{"source": {"file": "a"}}\n', "[1]\n", "\n"])
def test_last_line_that_is_no_prediction_is_refused(path, text):
    with path.open("a") as file:
        file.write(text)
    with pytest.raises(CheckpointError, match=r"pred\.jsonl:4: line must be a prediction"):
        PredictionFile(path, MADE_WITH)


def test_two_writers_at_once_are_refused(path):
    with PredictionFile(path, MADE_WITH), pytest.raises(CheckpointError, match="one run at a time"):
        PredictionFile(path, MADE_WITH)
