"""``dcap predict`` on a server: in order, with faults, bad records, and after an end of any kind."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dcap.core.errors import CheckpointError, RecordError, ServerError
from dcap.infer import loading
from dcap.infer.loading import EngineOptions
from dcap.infer.prediction_file import read_left_out
from dcap.infer.run import PredictOptions, predict
from dcap.infer.server import API_KEY, Backoff, Server
from dcap.model.decoding import Decoding
from support.forks import Forks
from support.openai_server import Asked, Fault, Play, serving


def count_pixels(asked: Asked) -> Mapping[str, Any]:
    """An answer that depends on the image alone."""
    assert asked.image is not None
    total = int(asked.image.sum())
    box = f'{{"object_1": {{"bbox_2d": [{total % 400}, 0, 900, {500 + total % 7}], "desc": "{total}"}}}}'
    return {"message": {"content": box}}


@pytest.fixture
def play(generator: Any) -> Play:
    return Play(count_pixels, generator.tokenizer)


@pytest.fixture
def url(play: Play) -> Iterator[str]:
    with serving(play) as address:
        yield address


@pytest.fixture
def options(
    url: str, photos: Path, micro_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> PredictOptions:
    quick = Backoff(attempts=9, first_s=0.001, most_s=0.001)
    monkeypatch.setattr(loading, "Server", lambda address, **more: Server(address, backoff=quick, **more))
    engine = EngineOptions(f"openai:{url}", concurrency=3)
    return PredictOptions(str(micro_folder), (photos,), tmp_path / "pred.jsonl", engine=engine)


def numbers(out: Path) -> list[int]:
    return [json.loads(line)["source"]["line"] for line in out.read_text("utf-8").splitlines()]


def test_lines_come_in_order_whatever_goes_wrong_for_a_moment(options: PredictOptions, play: Play) -> None:
    outcome = predict(options)
    assert (outcome.written, outcome.objects) == (5, 5)
    assert numbers(options.out) == [1, 2, 3, 4, 5]
    play.fault = lambda number: Fault((429, 500, 503)[number % 3]) if number % 2 else None
    again = replace(options, out=options.out.with_name("again.jsonl"))
    predict(again)
    assert again.out.read_bytes() == options.out.read_bytes()


def test_the_meta_file_names_engine_and_model_but_no_address_and_no_key(
    options: PredictOptions, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY, "secret-key")
    predict(replace(options, limit=1))
    meta = options.out.with_name("pred.jsonl.meta.json").read_text()
    made_with = json.loads(meta)["made_with"]
    assert (made_with["engine"], made_with["server-model"], "dtype" in made_with) == ("openai", "mine", False)
    assert "secret-key" not in meta
    assert url not in meta


def test_a_run_goes_on_at_another_address_but_with_no_other_model(options: PredictOptions, play: Play) -> None:
    predict(replace(options, limit=2))
    with serving(play) as other:
        predict(replace(options, engine=EngineOptions(f"openai:{other}")))
    assert numbers(options.out) == [1, 2, 3, 4, 5]
    play.model = "other"
    with pytest.raises(CheckpointError, match="the same server-model"):
        predict(options)


def test_a_server_that_goes_down_keeps_what_was_written(options: PredictOptions, play: Play) -> None:
    predict(options)
    whole = options.out.read_bytes()
    broken = replace(options, out=options.out.with_name("broken.jsonl"), engine=replace(options.engine, concurrency=1))
    first = len(play.headers)
    play.fault = lambda number: Fault(500) if number >= first + 4 else None
    with pytest.raises(
        ServerError, match=r"broken\.jsonl keeps 2 predictions: start again with the same options to go on"
    ):
        predict(broken)
    assert numbers(broken.out) == [1, 2]
    play.fault = lambda number: None
    predict(broken)
    assert broken.out.read_bytes() == whole


def test_a_refused_request_is_a_bad_record(options: PredictOptions, play: Play) -> None:
    def refuse_one(number: int) -> Fault | None:
        return Fault(400, b'{"message": "image refused"}') if number == bad else None

    options = replace(options, engine=replace(options.engine, concurrency=1))
    bad = len(play.headers) + 4
    play.fault = refuse_one
    with pytest.raises(RecordError, match=r"^photos\.jsonl:3: .*refuses it \(status 400: image refused\)"):
        predict(options)
    assert numbers(options.out) == [1, 2]
    skip = replace(options, on_bad_record="skip", overwrite=True)
    bad = len(play.headers) + 4
    outcome = predict(skip)
    assert numbers(options.out) == [1, 2, 4, 5]
    assert [each.line for each in outcome.left_out] == [3]
    assert read_left_out(options.out) == list(outcome.left_out)


def test_a_bad_image_does_not_lose_the_answers_before_it(options: PredictOptions, photos: Path) -> None:
    whole = (photos.parent / "3.png").read_bytes()
    (photos.parent / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"photos\.jsonl:4"):
        predict(options)
    assert numbers(options.out) == [1, 2, 3]
    assert predict(replace(options, on_bad_record="skip")).written == 1
    assert numbers(options.out) == [1, 2, 3, 5]


def test_a_server_that_is_not_there_is_told_before_anything_is_written(options: PredictOptions) -> None:
    nowhere = replace(options, engine=EngineOptions("openai:http://127.0.0.1:1"))
    with pytest.raises(ServerError, match=r"^http://127\.0\.0\.1:1/v1 must answer, and did not at 2 tries: .*refused"):
        predict(nowhere)
    assert not options.out.exists()


COMMAND = "import sys; from dcap.cli.__main__ import main; sys.exit(main(sys.argv[1:]))"


def test_a_killed_run_goes_on_to_the_same_bytes(options: PredictOptions, play: Play, url: str, forks: Forks) -> None:
    """``kill -9`` in the middle of a run, with answers on the way."""
    predict(options)
    killed = options.out.with_name("killed.jsonl")
    reached = threading.Event()

    def hang_later(asked: Asked) -> Mapping[str, Any]:
        if numbers_written(killed) >= 2:
            reached.set()
            play.release.wait(30)
        return count_pixels(asked)

    play.answer = hang_later
    command = ["predict", "--engine", f"openai:{url}", "--concurrency", "1", "--model", options.model,
               "--data", str(options.data[0]), "--out", str(killed)]  # fmt: skip
    process = forks.start(COMMAND, *command, folder=options.out.parent)
    assert reached.wait(120)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    assert 2 <= numbers_written(killed) < 5
    play.answer = count_pixels
    outcome = predict(replace(options, out=killed))
    assert outcome.kept >= 2
    assert killed.read_bytes() == options.out.read_bytes()


def numbers_written(out: Path) -> int:
    return out.read_bytes().count(b"\n") if out.exists() else 0


def test_sampled_answers_depend_on_seed_and_record_alone(options: PredictOptions, play: Play) -> None:
    seeds: dict[str, list[int]] = {}

    def note(asked: Asked) -> Mapping[str, Any]:
        if asked.image is not None and "seed" in asked.body:
            seeds.setdefault(str(asked.image.shape), []).append(asked.body["seed"])
        return count_pixels(asked)

    play.answer = note
    drawn = replace(options, decoding=Decoding(temperature=0.5, seed=7))
    predict(replace(drawn, out=options.out.with_name("a.jsonl")))
    one = {shape: list(found) for shape, found in seeds.items()}
    predict(replace(drawn, out=options.out.with_name("b.jsonl"), engine=replace(options.engine, concurrency=1)))
    assert {shape: found[: len(found) // 2] for shape, found in seeds.items()} == one
    assert all(sorted(found[len(found) // 2 :]) == sorted(one[shape]) for shape, found in seeds.items())
