"""The audit of whole data sets: what fails and what is a note, and the same result from several processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcap.audit.auditing import AuditOptions, audit
from dcap.audit.split_checks import CheckResult
from dcap.augment.config import AugmentConfig
from dcap.core.config import build
from dcap.core.errors import RecordError
from dcap.data.encode import load_tokenizer
from dcap.records.preprocess import PREPROCESSORS
from support.dataset_cases import AUGMENTATION, data_config, photo, records


@PREPROCESSORS.register("test_audit_raises")
def raising() -> Any:
    def refuse(record: Any) -> Any:
        raise ValueError("I do not like it")

    return refuse


def write(path: Path, *items: dict[str, Any]) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return str(path)


def run(micro_folder: Path, options: AuditOptions | None = None, **data: Any) -> dict[tuple[str, str], CheckResult]:
    made = data_config(**{"val": (), **data})
    return {(r.split, r.name): r for r in audit(made, load_tokenizer(str(micro_folder)), options)}


def failing(results: dict[tuple[str, str], CheckResult]) -> set[tuple[str, str]]:
    return {key for key, result in results.items() if result.status == "fail"}


def test_the_bundled_photos_pass(micro_folder: Path) -> None:
    results = run(micro_folder, val="builtin:photos/val.jsonl")
    assert {result.status for result in results.values()} == {"pass", "-"}
    assert results["train", "tokens"].checked == 4
    assert results["val", "answers"].checked == 1
    assert results["all", "leakage"].checked == 1
    assert json.loads(json.dumps([result.to_dict() for result in results.values()]))


def test_a_drawn_part_is_tokenised(micro_folder: Path) -> None:
    assert run(micro_folder, AuditOptions(encode=3))["train", "tokens"].checked == 3
    assert run(micro_folder, AuditOptions(encode=0))["train", "tokens"].status == "-"


def test_it_tells_how_far_it_is(micro_folder: Path, tmp_path: Path) -> None:
    made = data_config(train=records(tmp_path, *[photo(tmp_path)] * 35))
    told: list[tuple[str, int, int]] = []
    audit(made, load_tokenizer(str(micro_folder)), AuditOptions(0), lambda *far: told.append(far))
    assert told == [("train", 16, 35), ("train", 32, 35), ("train", 35, 35), ("val", 1, 1)]


@pytest.mark.parametrize(("policy", "status"), [("error", "fail"), ("skip", "note")])
def test_bad_records(micro_folder: Path, tmp_path: Path, policy: str, status: str) -> None:
    good = photo(tmp_path)
    train = records(tmp_path, good, {**good, "width": 0, "height": 0}, {**good, "images": ["gone.png"]})
    results = run(micro_folder, train=train, on_bad_record=policy)
    assert {key for key, result in results.items() if result.status == status} == {
        ("train", "records"),
        ("train", "images"),
    }
    assert results["train", "records"].examples[0] == "r.jsonl:2: width must be a whole number of pixels >= 1, not 0"
    assert results["train", "images"].examples[0].startswith("r.jsonl:3: image ")
    assert results["train", "answers"].checked == 2


def test_no_record_at_all(micro_folder: Path, tmp_path: Path) -> None:
    assert failing(run(micro_folder, train=records(tmp_path))) == {("train", "records")}


def test_a_preprocessor_that_raises(micro_folder: Path) -> None:
    results = run(micro_folder, preprocessors=[{"name": "test_audit_raises"}])
    assert failing(results) == {("train", "preprocessors")}
    assert "I do not like it" in results["train", "preprocessors"].examples[0]


def test_a_file_that_is_none_is_an_error(micro_folder: Path) -> None:
    with pytest.raises(RecordError, match=r"nowhere\.jsonl: file must exist"):
        run(micro_folder, train="nowhere.jsonl")


def test_images_of_val_that_are_in_train(micro_folder: Path, tmp_path: Path) -> None:
    one, two, three, four = (photo(tmp_path, f"{name}.png") for name in "abcd")
    (tmp_path / "copy.png").write_bytes((tmp_path / "b.png").read_bytes())
    for i, name in enumerate("abcd"):
        Image.new("RGB", (120, 80), (i, 0, 0)).save(tmp_path / f"{name}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "b.png").read_bytes())
    train = write(tmp_path / "train.jsonl", one, two, three)
    val = write(tmp_path / "val.jsonl", four, {**one, "objects": []}, {**two, "images": ["copy.png"]}, four)
    results = run(micro_folder, train=train, val=val)
    assert failing(results) == {("all", "leakage")}
    assert results["all", "leakage"].examples == [
        "val.jsonl:2: images[0] is the image of train.jsonl:1, a record of train",
        "val.jsonl:3: images[0] has the bytes of the image of train.jsonl:2, a record of train",
    ]
    assert results["val", "duplicates"].examples == ["val.jsonl:4: is the same line as val.jsonl:1"]
    assert (results["val", "duplicates"].status, results["train", "duplicates"].status) == ("note", "pass")


def test_images_of_val_that_look_like_one_of_train(micro_folder: Path, tmp_path: Path) -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
    for name, picture, times in (("a.png", 0, 10), ("b.png", 1, 10), ("c.png", 2, 10), ("d.jpg", 1, 20)):
        Image.fromarray(np.kron(pictures[picture], np.ones((times, times, 1), np.uint8))).save(tmp_path / name)
    one = photo(tmp_path, "e.png")
    train = write(tmp_path / "train.jsonl", {**one, "images": ["a.png"]}, {**one, "images": ["b.png"]})
    copy = {**one, "images": ["d.jpg"], "width": 240, "height": 160}
    val = write(tmp_path / "val.jsonl", {**one, "images": ["c.png"]}, copy)
    results = run(micro_folder, train=train, val=val)
    assert failing(results) == set()
    assert results["all", "look_alikes"].examples == [
        "val.jsonl:2: images[0] looks like the image of train.jsonl:2, a record of train"
    ]
    (tmp_path / "b.png").write_bytes(b"")
    assert run(micro_folder, train=train, val=val)["all", "look_alikes"].status == "pass"


def test_two_files_of_one_name(micro_folder: Path, tmp_path: Path) -> None:
    files = tuple(write(tmp_path / name / "r.jsonl", photo(tmp_path, f"{name}.png")) for name in "xy")
    results = run(micro_folder, train=files, check_images=False)
    assert results["train", "sample_ids"].status == "note"
    assert results["train", "sample_ids"].examples == [f"{files[1]}: has the name of {files[0]}"]


def test_a_prompt_with_a_control_token(micro_folder: Path) -> None:
    results = run(micro_folder, answer={"max_pixels": 90_000, "prompts": {"dense": "list it <tool_call>"}})
    assert failing(results) == {("all", "prompts")}
    assert "prompt dense must hold no control token" in results["all", "prompts"].examples[0]


def test_several_processes_find_the_same(micro_folder: Path, tmp_path: Path) -> None:
    item = photo(tmp_path)
    items = [{**item, "objects": item["objects"][: i % 5], "width": 0 if i % 20 == 9 else 120} for i in range(100)]
    told: list[tuple[str, int, int]] = []
    made = data_config(train=records(tmp_path, *items), val=(), global_max_length=860)
    tokenizer, turns = load_tokenizer(str(micro_folder)), build(AugmentConfig, AUGMENTATION)
    one, two = (
        audit(
            made,
            tokenizer,
            AuditOptions(encode=20, num_workers=n, decode=False),
            lambda *c: told.append(c),
            augmentation=turns,
        )
        for n in (0, 2)
    )
    assert one == two
    assert told[-1] == ("train", 95, 95)
    assert {(r.name, r.failed) for r in one if r.failed} >= {("records", 5)}


def test_a_mixture_is_audited_with_its_repeats_and_what_the_epoch_leaves_out(
    micro_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    a = records(tmp_path, *[photo(tmp_path, f"{i}.png") for i in range(4)])
    b = records(tmp_path / "b", photo(tmp_path / "b", "x.png"))
    for shares, samples in (({}, {"ratio": 2.0}), 12), (({"weight": 0.5}, {}), 5):
        mixture = [{"name": "a", "train": a, **shares[0]}, {"name": "b", "train": b, **shares[1]}]
        made = data_config(train=(), val=(), mixture=mixture)
        found = audit(made, load_tokenizer(str(micro_folder)), AuditOptions(encode=None))
        checked = {result.name: result.checked for result in found}
        assert (checked["images"], checked["plans"], checked["tokens"]) == (5, samples, samples)
        assert not any(result.failed for result in found)
