"""Every kind of file that dcap reads, damaged: an error with a place, or the data; never another exception."""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.answers.codec import parse
from dcap.answers.formats import OWN_FORMATS
from dcap.answers.profile import FILE_NAME, AnswerProfile, ResolvedProfile, load_profile, save_profile
from dcap.answers.prompts import PromptConfig, resolve
from dcap.augment.plan import Plan
from dcap.convert.coco_writer import CocoOptions, to_coco
from dcap.convert.conversion_report import ConversionReport
from dcap.core.config import read_yaml
from dcap.core.errors import DcapError, RecordError
from dcap.core.words import printable_lines
from dcap.evaluate.evaluation import evaluate
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.infer.prediction_file import PredictionFile, read_left_out
from dcap.records.checking import BadRecordList, check_records
from dcap.records.files.hub_objects import as_record_objects, class_names, is_foreign
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.tar_shard import TarShard
from support.container_cases import annotation, samples, write_tar
from support.mutations import damaged

RECORDS = [
    annotation(0, images=["0.png"]),
    annotation(1, images=["1.png"], metadata={"image_id": 4, "annotation_ids": [7]}),
    {
        "images": ["a.png"], "width": 40, "height": 30, "summary": "é",
        "objects": [
            {"desc": "cup", "poly": [1, 1, 9, 1, 5, 8], "poly_points": 3, "attributes": {"c": 1}},
            {"desc": "wire", "line": [0, 0, 40, 30, 41, 31]},
            {"desc": "box", "bbox_2d": [1.5, 2, 30, 20], "score": 0.5},
        ],
    },
]  # fmt: skip
JSONL = b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)
PREDICTIONS = b"".join(
    json.dumps({**record, "text": "t", "problems": [], "source": {"file": "a.jsonl", "line": k}}).encode() + b"\n"
    for k, record in enumerate(RECORDS, 1)
)
FOREIGN = {"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [0], "segmentation": [[[1, 2, 9, 4, 5, 9]]], "id": [1]}
STAMP = (10**18, 10**18)
Case = tuple[Callable[[Path], list[bytes]], bool, Callable[[Path, bytes], None]]


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def read_records(name: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, data: bytes) -> None:
        path = put(folder / name, data)
        assert all(str(problem) for bad in check_records([path], "skip").bad for problem in bad.problems)
        check_records([path])

    return read


def with_checksum(data: bytes) -> tuple[bytes, bytes]:
    """An index as it is, and with the checksum that a forger would write."""
    return data, data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def convert(folder: Path, data: bytes) -> None:
    to_coco(put(folder / "a.jsonl", data), folder / "a.json", ConversionReport("skip"), CocoOptions(overwrite=True))


def score(folder: Path, data: bytes) -> None:
    evaluate([put(folder / "truth.jsonl", JSONL)], put(folder / "pred.jsonl", data))


def read_json_objects(_: Path, data: bytes) -> None:
    try:
        objects = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if is_foreign(objects):
        msgspec.json.encode(
            as_record_objects(objects, class_names({b"huggingface": data}) or {"category": ["cup"]}, 40, 30)
        )


def read_lines_by_index(folder: Path, data: bytes) -> None:
    """A damaged index is made again, or seen at a line: a wrong line is never believed."""
    for saved in with_checksum(data):
        put(folder / "a.jsonl.dcap-index", saved)
        file = JsonlFile(folder / "a.jsonl", index_from=0)
        with suppress(RecordError):
            assert [file.line(i) for i in range(len(file))] == (JSONL * 5).splitlines()


def saved_line_index(folder: Path) -> list[bytes]:
    os.utime(put(folder / "a.jsonl", JSONL * 5), ns=STAMP)
    JsonlFile(folder / "a.jsonl", index_from=0)
    return [(folder / "a.jsonl.dcap-index").read_bytes()]


def read_samples_by_index(folder: Path, data: bytes) -> None:
    for saved in with_checksum(data):
        put(folder / "a.tar.dcap-index", saved)
        file = TarShard(folder / "a.tar", index_from=0)
        for i in range(len(file)):
            file.explain(i)


def saved_tar_index(folder: Path) -> list[bytes]:
    os.utime(write_tar(folder / "a.tar", samples(3)), ns=STAMP)
    TarShard(folder / "a.tar", index_from=0)
    return [(folder / "a.tar.dcap-index").read_bytes()]


def read_text_of_compressed(folder: Path, data: bytes) -> None:
    put(folder / "a.jsonl.gz.dcap-text", data)
    check_records([folder / "a.jsonl.gz"])


def text_of_compressed(folder: Path) -> list[bytes]:
    check_records([put(folder / "a.jsonl.gz", gzip.compress(JSONL))])
    return [(folder / "a.jsonl.gz.dcap-text").read_bytes()]


def saved_profile(folder: Path) -> list[bytes]:
    profile = ResolvedProfile(AnswerProfile(), resolve(PromptConfig()))
    return [save_profile(folder, profile).read_bytes()]


def read_profile(folder: Path, data: bytes) -> None:
    put(folder / FILE_NAME, data)
    assert load_profile(folder).is_trained


def read_plan(_: Path, data: bytes) -> None:
    Plan.from_json(data.decode("utf-8", "replace")).to_json()


def continue_predictions(folder: Path, data: bytes) -> None:
    put(folder / "p.jsonl.bad_records.jsonl", data)
    for lines, meta in ((data, b'{"made_with": {"a": 1}}'), (PREDICTIONS, data)):
        path = put(folder / "p.jsonl", lines)
        put(folder / "p.jsonl.meta.json", meta)
        with PredictionFile(path, {"a": 1}):
            pass
    read_left_out(path)


def read_bad_list(folder: Path, data: bytes) -> None:
    put(folder / "bad_records.jsonl", data)
    found = BadRecordList(folder)
    found.start()
    found.add("message")


def read_config(folder: Path, data: bytes) -> None:
    read_yaml(put(folder / "a.yaml", data.replace(b"[" * 3000, b"[" * 100)))  # PyYAML takes a second for the longer one


def read_answer(_: Path, data: bytes) -> None:
    for name in OWN_FORMATS:
        profile = AnswerProfile(format=name, prefix="[{num_lines}] ")
        parse(data.decode("utf-8", "surrogateescape"), profile, strict=False)


CORNERS = np.array([[0.0, 0.0], [96.0, 0.0], [96.0, 64.0]])
PLAN = Plan(Canvas(30, 40), Canvas(64, 96), Affine.scaling(2.4, 2.0), CORNERS, (), "linear", ("a step",))
BAD_LIST = b'{"file": "a", "line": 1, "errors": []}\n{"errors": ["x"]}\n'
CONFIG = b"a: {b: &x [1, 2.5, null], c: *x}\nd: '1'\n# e\nf:\n- 1e-4\n- !!int 3\n"
ANSWERS = [
    b'[{"bbox_2d": [1, 2, 3, 4], "label": "x"}]',
    b'{"object_1": {"poly": [[1, 2], [3, 4], [5, 9]], "desc": "a"}}',
    b'[1] [["l",1,2,3,4,"x"],[1,2,3,4,"y"]]',
]
CASES: dict[str, Case] = {
    "jsonl": (lambda _: [JSONL], True, read_records("a.jsonl")),
    "gzip": (lambda _: [gzip.compress(JSONL)], False, read_records("a.jsonl.gz")),
    "tar": (lambda folder: [write_tar(folder / "s.tar", samples(2)).read_bytes()], False, read_records("a.tar")),
    "objects of datasets": (lambda _: [json.dumps(FOREIGN).encode()], True, read_json_objects),
    "line index": (saved_line_index, False, read_lines_by_index),
    "tar index": (saved_tar_index, False, read_samples_by_index),
    "text of a compressed file": (text_of_compressed, False, read_text_of_compressed),
    "conversion": (lambda _: [JSONL], True, convert),
    "predictions": (lambda _: [PREDICTIONS], True, score),
    "continued predictions": (lambda _: [PREDICTIONS, b'{"made_with": {"a": 1}}'], True, continue_predictions),
    "list of bad records": (lambda _: [BAD_LIST], True, read_bad_list),
    "profile": (saved_profile, True, read_profile),
    "plan": (lambda _: [PLAN.to_json().encode()], True, read_plan),
    "config": (lambda _: [CONFIG], True, read_config),
    "answer": (lambda _: ANSWERS, True, read_answer),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_a_damaged_file_is_an_error_with_a_message(kind: str, tmp_path: Path) -> None:
    seeds_of, is_text, read = CASES[kind]
    seeds = seeds_of(tmp_path)

    @settings(max_examples=80, derandomize=True, database=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        content = data.draw(damaged(seeds, is_text))
        try:
            read(tmp_path, content)
        except DcapError as error:
            message = printable_lines(str(error))
            message.encode("utf-8")
            assert not re.search(r"NoneType|<class| object at 0x|\bdict\b", message)

    check()
