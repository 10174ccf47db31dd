import json

import pytest
from rich.console import Console

from dcap.evaluate.report import answer_table, evaluate, score_table, worst_table, write_json

CUP = {"desc": "cup", "bbox_2d": [10, 10, 50, 50]}
ROAD = {"desc": "road", "line": [0, 70, 99, 70]}


def record(name, *objects, **more):
    return {"images": [name], "width": 100, "height": 80, "objects": list(objects), **more}


@pytest.fixture
def files(tmp_path):
    def write(name, lines):
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        return path

    truth = [record("a.jpg", CUP, ROAD), record("b.jpg", CUP), record("c.jpg", CUP), record("d.jpg")]
    pred = [
        record("d.jpg"),
        record("a.jpg", CUP, ROAD),
        record("b.jpg", {"desc": "cup", "bbox_2d": [60, 10, 90, 50]}, problems=["[red] cut off at 90"]),
    ]
    return write("truth.jsonl", truth), write("pred.jsonl", pred)


def test_missing_answers_count_as_empty_and_are_reported(files):
    total = evaluate([files[0]], files[1]).to_dict()["total"]
    assert (total["images"], total["answers"], total["missing_answers"]) == (4, 3, 1)
    assert total["parse_rate"] == pytest.approx(2 / 3)
    assert total["regions"]["0.50"] == {
        "precision": pytest.approx(1 / 2),
        "recall": pytest.approx(1 / 3),
        "f1": pytest.approx(0.4),
    }
    assert total["objects"]["recall"] == pytest.approx(2 / 4)


def test_one_row_per_true_record_in_its_order(files):
    rows = evaluate([files[0]], files[1]).to_dict()["images"]
    assert [row["image"] for row in rows] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [row["f1"] for row in rows] == [1.0, 0.0, 0.0, 1.0]
    assert [row["answered"] for row in rows] == [True, True, False, True]
    assert rows[1]["problems"] == ["[red] cut off at 90"]
    assert rows[0]["source"] == "truth.jsonl:1"


def test_several_truth_files_add_up(files, tmp_path):
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps(record("e.jpg", CUP)) + "\n")
    assert evaluate([files[0], more], files[1]).total.images == 5


def test_order_of_the_predictions_does_not_matter(files, tmp_path):
    turned = tmp_path / "turned.jsonl"
    turned.write_text("".join(reversed(files[1].read_text().splitlines(keepends=True))))
    assert evaluate([files[0]], turned).to_dict() == evaluate([files[0]], files[1]).to_dict()


def test_worst_comes_first_and_ties_keep_the_order(files):
    report = evaluate([files[0]], files[1])
    assert [result.pair.truth.image for result in report.worst(3)] == ["b.jpg", "c.jpg", "a.jpg"]


def test_json_reads_back(files, tmp_path):
    report = evaluate([files[0]], files[1])
    write_json(report, tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text()) == report.to_dict()
    assert not list(tmp_path.glob("*.part"))


def test_tables_show_the_numbers_and_names_as_they_are(files):
    report = evaluate([files[0]], files[1])
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        for table in (score_table(report), answer_table(report), worst_table(report, 2)):
            console.print(table)
        text = console.export_text()
    assert "0.400" in text
    assert "0.667" in text
    assert "[red] cut off at 90" in text
    assert "no answer" in text
    assert "lines, length within 10 px" in text


def test_a_mean_over_nothing_is_a_dash(files, tmp_path):
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_bytes(b"")
    cells = [list(column.cells) for column in answer_table(evaluate([files[0]], nothing)).columns]
    assert cells[1] == ["-", "4", "-", "-", "-", "-"]
    assert "-" not in [cell for column in answer_table(evaluate([files[0]], files[1])).columns for cell in column.cells]


def test_no_images_at_all(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    total = evaluate([empty], empty).to_dict()["total"]
    assert (total["images"], total["parse_rate"], total["objects"]["f1"]) == (0, 0.0, 1.0)
