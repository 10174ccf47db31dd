"""``dcap merge``: what shards make together is what one run makes, byte for byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcap.cli.__main__ import main
from dcap.convert.assembler import Assembler
from dcap.core.shard import Shard, ShardFolder, keep_pieces

COUNTS = range(1, 8)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 40 records: good ones, bad ones, notes, duplicates, and two images of one size."""
    monkeypatch.chdir(tmp_path)
    for name, shade in (("a.png", 10), ("b.png", 10), ("c.png", 90)):
        Image.new("RGB", (64, 48), (shade, 20, 30)).save(name)
    shutil.copy("a.png", "ä.png")
    Path("train.jsonl").write_text("".join(json.dumps(record(k)) + "\n" for k in range(40)))
    return tmp_path


def record(k: int) -> dict[str, Any]:
    shape = {"bbox_2d": [1, 2, 30 + k % 7, 40.5]} if k % 3 else {"line": [1, 1, 5 + k, 9 + 2 * k]}
    found: dict[str, Any] = {
        "images": [["a.png", "b.png", "c.png", "ä.png"][k % 4]], "width": 64, "height": 48,
        "objects": [{"desc": f"cup {k % 5}", **shape}],
    }  # fmt: skip
    if k % 11 == 5:
        found["width"] = 65 - k
    if k % 17 == 9:
        found["objects"][0]["desc"] = ""
    if k % 13 == 6:
        found["sumary"] = "a cup"
    return found


def run_all(words: Sequence[str], count: int) -> None:
    for index in reversed(range(count)):
        assert main([*words, "--shard", f"{index}/{count}"]) == 0


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("images", [[], ["--no-images"], ["--decode"]])
def test_validation(images: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("dcap.audit.validation.range_length", lambda _images: 3)
    words = ["validate", "train.jsonl", "train.jsonl", "--workers", "0", *images]
    code = main([*words, "--report", "whole.json", "--html", "whole.html"])
    assert code == 1
    shown = capsys.readouterr().out
    for count in COUNTS if not images else (4,):
        out = f"{count}.json"
        run_all([*words, "--report", out, "--html", f"{count}.html"], count)
        assert capsys.readouterr().out == ""
        assert not Path(out).exists()
        assert main(["merge", out]) == code
        assert capsys.readouterr().out == shown
        for ending in ("json", "html"):
            assert Path(f"{count}.{ending}").read_bytes() == Path(f"whole.{ending}").read_bytes()


@pytest.mark.usefixtures("here")
def test_what_is_missing_or_has_changed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["validate", "train.jsonl", "--report", "out.json"]
    assert main([*words, "--shard=1/2"]) == 0
    assert main(["merge", "out.json"]) == 2
    assert "1 is missing: 0/2. Make it:\n  dcap validate train.jsonl --report out.json --shard=0/2\n" in _said(capsys)
    assert main([*words, "--shard=0/2", "--no-images"]) == 0
    assert main(["merge", "out.json"]) == 2
    assert "must be made with the same no-images: no-images is true in the first and false in the second" in _said(
        capsys
    )
    assert main([*words, "--shard=0/2"]) == 2
    assert "must be a shard made with the same no-images" in _said(capsys)
    assert main([*words, "--shard=0/2", "--overwrite"]) == 0
    with Path("train.jsonl").open("a") as file:
        file.write(json.dumps(record(0)) + "\n")
    assert main(["merge", "out.json"]) == 2
    assert "must have been made with the same data as there is now" in _said(capsys)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["validate", "train.jsonl", "--shard", "0/2"], "--shard must come with --report"),
        (["audit", "train.jsonl", "--shard", "0/2"], "--shard must come with --report"),
        (["audit", "--losses", ".", "--shard", "0/2"], "--shard must go without --losses"),
        (
            ["validate", "train.jsonl", "--report", "/dev/stdout", "--shard", "0/2"],
            "--report must be a file where --shard",
        ),
        (["merge", "none.json"], "none.json must have shards beside it, in the folder none.json.shards"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in _said(capsys)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", [(), ("export", "--shard", "0/1"), ("merge", "out.json")])
def test_only_a_command_with_parts_is_merged(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    keep_pieces(ShardFolder(Path("out.json"), Shard(0, 1), command), {}, range(0), 0, lambda _: [], False)
    assert main(["merge", "out.json"]) == 2
    assert "shard.json must be made by convert, validate, audit, lengths, predict, not by" in _said(capsys)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["validate", "--help"], "required: FILE"),
        (["validate", "train.jsonl", "--help"], "unrecognized arguments: --help"),
        (["validate", "train.jsonl", "--sh", "0/1"], "Options must be written in full: --shard, not --sh"),
        (["validate", "train.jsonl", "--report", "out.json"], "it does not make part 0/1"),
        (["validate", "train.jsonl", "--report", "out.json", "--shard", "1/2"], "it does not make part 0/1"),
        (["validate", "train.jsonl", "--workers", "two"], "argument --workers: invalid int value"),
        (["convert"], "the following arguments are required: FORMAT"),
        (["convert", "to-coco", "train.jsonl", "-o", "out.json"], "it does not make part 0/1"),
    ],
)
def test_a_command_that_makes_no_such_part_is_named(
    command: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ShardFolder(Path("out.json"), Shard(0, 1), tuple(command))
    keep_pieces(folder, {}, range(0), 0, lambda _: [], False)
    assert main(["merge", "out.json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "0-of-1/shard.json must name the command that made it, not " in shown.err
    assert said in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.usefixtures("here")
def test_what_is_made_of_the_whole_may_go_with_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["validate", "train.jsonl", "--workers", "0", "--json"]
    assert main([*words, "--report", "whole.json"]) == 1
    shown = capsys.readouterr().out
    run_all([*words, "--report", "2.json"], 2)
    assert capsys.readouterr().out == ""
    assert main(["merge", "2.json"]) == 1
    assert capsys.readouterr().out == shown
    assert json.loads(shown)["problems"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("text", ["2/2", "x"])
def test_a_shard_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["validate", "train.jsonl", "--report", "out.json", "--shard", text])
    assert "--shard: must be I/N" in _said(capsys)


@pytest.mark.usefixtures("here")
def test_shards_are_merged_where_they_were_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "train.jsonl", "--report", "out.json", "--shard", "0/1"]) == 0
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    assert main(["merge", "../out.json"]) == 2
    assert "must be made for ../out.json, not for out.json. Start dcap merge in the folder where" in _said(capsys)


@pytest.fixture
def config(here: Path, micro_folder: Path) -> Path:
    """A config of a run whose val repeats images and records of train, with words that augmentation touches."""
    lines = [record(k) for k in range(40)]
    for line in lines[::4]:
        line["objects"][0]["desc"] = "left cup"
    (here / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (here / "val.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (*lines[:3], *lines[7:9])))
    text = f"""\
model: {{name_or_path: "{micro_folder}"}}
data: {{train: train.jsonl, val: val.jsonl, on_bad_record: skip, global_max_length: 4096}}
augmentation: {{bypass_prob: 0.2, ops: [{{name: hflip, prob: 0.5}}]}}
training: {{output_dir: run}}
"""
    (here / "run.yaml").write_text(text)
    return here


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("words", [["run.yaml"], ["run.yaml", "--no-decode", "--encode", "3"], ["train.jsonl"]])
def test_audit(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("dcap.audit.auditing._SAMPLES_OF_A_RUN", 4)
    words = ["audit", *words, "--workers", "0"]
    code = main([*words, "--report", "whole.json"])
    shown = capsys.readouterr().out
    assert code == 1
    decoded: list[object] = []
    for count in (1, 2, 5, 7) if words[1:] == ["run.yaml", "--workers", "0"] else (4,):
        run_all([*words, "--report", f"{count}.json"], count)
        assert capsys.readouterr().out == ""
        with monkeypatch.context() as patch:
            patch.setattr("dcap.audit.duplicates.look_at", lambda *args: decoded.append(args))
            assert main(["merge", f"{count}.json"]) == code
        assert capsys.readouterr().out == shown
        assert Path(f"{count}.json").read_bytes() == Path("whole.json").read_bytes()
    assert not decoded, "the merge decodes no image"


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("words", [[], ["--split", "val"], ["--epoch", "2", "data.mode=mixed"]])
def test_lengths(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcap.cli.lengths._CHUNK", 3)
    monkeypatch.setattr("dcap.records.files.saved_index.LEAST_BYTES", 1)
    saved = Path("val.jsonl.dcap-lengths")
    words = ["lengths", "run.yaml", *words]
    assert main([*words, "--out", "whole.jsonl"]) == 0
    lines = [json.loads(line) for line in Path("whole.jsonl").read_text().splitlines()]
    assert len(lines) == 5 if "val" in words else len(lines) > 30
    assert all(0 < line["image_tokens"] < line["tokens"] for line in lines)
    assert saved.exists() == ("val" in words)
    kept = saved.read_bytes() if saved.exists() else b""
    for count in (1, 2, 7) if len(words) == 2 else (3,):
        saved.unlink(missing_ok=True)
        run_all([*words, "--out", f"{count}.jsonl"], count)
        assert not saved.exists()
        assert main(["merge", f"{count}.jsonl"]) == 0
        assert Path(f"{count}.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
        assert saved.exists() == bool(kept)
        assert not kept or saved.read_bytes() == kept


@pytest.fixture
def coco(here: Path) -> Path:
    """A COCO file of 20 images with losses of many kinds, and a folder of their images with some more."""
    (here / "photos" / "sub").mkdir(parents=True)
    images, annotations = [], []
    for k in range(20):
        size, name = (64 + k % 5, 48), f"{'sub/' * (k % 2)}{k}.png"
        rng = np.random.default_rng(k if k != 11 else 3)
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize(size).save(here / "photos" / name)
        images.append({"id": k, "file_name": name, "width": size[0], "height": size[1]})
        boxes: list[list[Any]] = [[1 + k, 2, 20, 12], [60, 30, 30, 10]]
        boxes += [[200, 200, 5, 5], [1, 1, 0, 4], ["x", 1, 1, 1], [5, 5, 1, 1]][k % 7 :][:1]
        for box in boxes:
            annotations.append({"id": len(annotations), "image_id": k, "category_id": k % 3, "bbox": box})
    images[7]["file_name"] = "0.png"
    images[8]["file_name"] = "elsewhere/2.PNG"
    images[9]["file_name"] = "missing.png"
    (here / "photos" / "sub" / "13.png").write_bytes((here / "photos" / "sub" / "13.png").read_bytes()[:-30])
    categories = [{"id": k, "name": name} for k, name in enumerate(("cup", "mug", "pot"))]
    tree = {"images": images, "annotations": annotations, "categories": categories, "extra": 1}
    (here / "coco.json").write_text(json.dumps(tree))
    (here / "labels.yaml").write_text("cup: vessel\nmug: vessel\npot: null\njug: jug\nbowl: bowl\n")
    return here


CONVERSIONS = {
    "plain": [],
    "map": ["--map", "labels.yaml", "--min-area", "30"],
    "sample": ["--sample", "9", "--seed", "3"],
    "split": ["--split", "0.6,0.2,0.2"],
    "names": ["--split", "0.5,0.5", "--by", "name", "--sample", "15"],
    "smaller": ["--max-pixels", "1500"],
    "strict": ["--strict"],
}


@pytest.mark.usefixtures("coco")
@pytest.mark.parametrize("kind", CONVERSIONS)
def test_conversion(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    def convert(folder: str) -> list[str]:
        Path(folder).mkdir()
        words = ["convert", "coco", "coco.json", "--images", "photos", "--on-bad", "skip", *CONVERSIONS[kind]]
        return [*words, "-o", f"{folder}/train.jsonl", "--report", f"{folder}/report.json"]

    code = main(convert("whole"))
    shown = capsys.readouterr().out
    assert code == 1
    for count in COUNTS if kind == "plain" else (3,):
        folder = f"part{count}"
        run_all(convert(folder), count)
        assert main(["merge", f"{folder}/train.jsonl"]) == code
        assert capsys.readouterr().out.replace(folder, "whole") == shown
        shutil.rmtree(f"{folder}/train.jsonl.shards")
        assert _contents(folder) == _contents("whole")


def _contents(folder: str) -> dict[str, bytes]:
    """Return the files of a folder, which in a report is called as the first is."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    return {**files, "report.json": files["report.json"].replace(folder.encode(), b"whole")}


@pytest.mark.usefixtures("coco")
def test_a_conversion_that_was_killed_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["convert", "coco", "coco.json", "--images", "photos", "--on-bad", "skip", "--map", "labels.yaml"]
    main([*words, "-o", "whole.jsonl", "--report", "whole.json"])
    words += ["-o", "out.jsonl", "--report", "out.json"]
    real, asked, dies_at = Assembler.__call__, list[int](), [14]

    def assemble(self: Assembler, item: Any, number: int) -> Any:
        if number in dies_at:
            raise KeyboardInterrupt
        asked.append(number)
        return real(self, item, number)

    monkeypatch.setattr(Assembler, "__call__", assemble)
    assert main([*words, "--shard", "1/2"]) == 130
    dies_at.clear()
    assert main(["merge", "out.jsonl"]) == 2
    run_all(words, 2)
    assert asked == [*range(11, len(asked) + 1), *range(1, 11)]
    assert main(["merge", "out.jsonl"]) == 1
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert Path("out.json").read_text().replace("out.jsonl", "whole.jsonl") == Path("whole.json").read_text()
    capsys.readouterr()
    assert main(["merge", "out.jsonl"]) == 2
    assert "--out must be a new file, and out.jsonl exists. Give --overwrite" in _said(capsys)
    assert main(["merge", "out.jsonl", "--overwrite"]) == 1


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_parts_of_a_folder_that_has_changed_are_not_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    for name in "bdfh":
        Image.new("RGB", (64, 48)).save(f"d/{name}.png")
        shape = {"label": name, "points": [[1, 2], [30, 40]], "shape_type": "rectangle"}
        tree = {"imagePath": f"{name}.png", "imageWidth": 64, "imageHeight": 48, "imageData": None, "shapes": [shape]}
        Path(f"d/{name}.json").write_text(json.dumps(tree))
    words = ["convert", "labelme", "d", "-o", "o.jsonl"]
    assert main([*words, "--shard", "0/2"]) == 0
    shutil.move("d/h.json", "d/a.json")
    assert main([*words, "--shard", "1/2"]) == 0
    assert main(["merge", "o.jsonl"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Make one of them anew, such as dcap convert labelme d -o o.jsonl --shard 1/2 --overwrite" in said
    assert not Path("o.jsonl").exists()


@pytest.mark.usefixtures("here")
def test_a_damaged_part_is_named_with_the_command_that_makes_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["validate", "train.jsonl", "--report", "x.json", "--workers", "0"]
    run_all(words, 2)
    part = Path("x.json.shards/0-of-2")
    (part / "shard.json").unlink()
    (part / "pieces").write_text("bad\n")
    assert main([*words, "--shard", "0/2"]) == 0
    capsys.readouterr()
    assert main(["merge", "x.json"]) != 0
    said = capsys.readouterr().err
    assert "x.json.shards/0-of-2/pieces must be JSON" in said
    assert "dcap validate train.jsonl --report x.json --workers 0 --shard 0/2 --overwrite" in said
