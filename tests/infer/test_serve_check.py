"""The comparison of a server with the model itself: equal answers pass, others are told with where they part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dcap.core.errors import ConfigError, ServerError
from dcap.data.config import DataConfig, resolve_profile
from dcap.data.encode import Encoder
from dcap.geometry.tiling import Tiling
from dcap.infer import hf_engine as engine_module
from dcap.infer.answers_apart import AnswersApart, ReadAnswers
from dcap.infer.asked_record import ask_record, first_records
from dcap.infer.engine import Reply
from dcap.infer.loading import EngineOptions
from dcap.infer.predictor import Predictor
from dcap.infer.scripted_engine import ScriptedEngine
from dcap.infer.serve_check import AnswerGap, ServeCheck, ServeCheckOptions, check_server, compare_answers
from dcap.infer.source import ModelSource, find_source
from support.openai_server import Asked, Fault, Play, model_answer, serving


@pytest.fixture
def source(micro_folder: Path, generator: Any, monkeypatch: pytest.MonkeyPatch) -> ModelSource:
    monkeypatch.setattr(engine_module, "load_model", lambda *_, **__: generator.model)
    return find_source(str(micro_folder), None)


def options(url: str, photos: Path, **more: Any) -> ServeCheckOptions:
    engine = EngineOptions(f"openai:{url}", device="cpu")
    return ServeCheckOptions(engine, (photos,), **{"num_records": 2, "max_new_tokens": 6, **more})


def test_the_model_itself_on_a_server_passes(source: ModelSource, generator: Any, photos: Path) -> None:
    with serving(Play(model_answer(generator), generator.tokenizer)) as url:
        found = check_server(source, options(url, photos))
    assert found.passes
    # A batch of one and a batch of two round differently.
    assert found.largest_logprob_gap == pytest.approx(0.0, abs=1e-5)
    equal = AnswersApart(2, 2, 0, 0, None, None, None, 0.0)
    assert replace(found, largest_logprob_gap=1e-6) == ServeCheck(2, equal, 1e-6)
    assert replace(found, largest_logprob_gap=1e-6).lines() == [
        "2 of 2 answers equal; 0 objects in both, 0 in one; no object in common; F1 changes by +0.0000; "
        "log-probabilities of equal tokens differ by 1.00e-06 at most"
    ]


def test_other_answers_are_told_with_their_record(source: ModelSource, generator: Any, photos: Path) -> None:
    answer = model_answer(generator)

    def change_one(asked: Asked) -> Mapping[str, Any]:
        choice = dict(answer(asked))
        if asked.image is not None and asked.body["max_tokens"] > 1 and asked.image.shape[1] != asked.image.shape[0]:
            choice["token_ids"] = [*choice["token_ids"][:4], 11]
            choice["message"] = {"content": generator.tokenizer.decode(choice["token_ids"])}
        return choice

    with serving(Play(change_one, generator.tokenizer)) as url:
        found = check_server(source, options(url, photos))
    assert not found.passes
    (gap,) = found.gaps
    assert (gap.record, gap.equal_tokens) == ("photos.jsonl:1", 4)
    assert found.lines()[1].startswith("photos.jsonl:1: equal up to 4, then here ")


def test_without_log_probabilities_of_the_server_the_answers_are_compared(
    source: ModelSource, generator: Any, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    play = Play(model_answer(generator), generator.tokenizer)
    play.fields -= {"logprobs"}
    with serving(play) as url:
        found = check_server(source, options(url, photos))
    assert found.passes
    assert found.largest_logprob_gap is None
    assert f"log-probabilities are not compared: {url}/v1 refuses logprobs" in caplog.messages


def test_a_request_that_fails_stops_the_check(source: ModelSource, generator: Any, photos: Path) -> None:
    play = Play(model_answer(generator), generator.tokenizer)
    play.fault = lambda number: Fault(400, b'{"message": "no logprobs here"}') if number >= 2 else None
    with serving(play) as url, pytest.raises(ServerError, match=r"^photos\.jsonl:1: .*no logprobs here"):
        check_server(source, options(url, photos))


def compared(
    predictor: Predictor, photos: Path, here: list[Reply], there: list[Reply], num_records: int | None = None
) -> ServeCheck:
    asked = [ask_record(predictor, record) for record in first_records([photos], num_records or len(here))]
    return compare_answers(asked, *(ReadAnswers.of(predictor, asked, replies) for replies in (here, there)))


def scripted(generator: Any) -> Predictor:
    profile = resolve_profile(DataConfig())
    return Predictor(ScriptedEngine({}), Encoder(generator.tokenizer), profile, "dense")


def test_objects_coordinates_and_scores_are_compared(generator: Any, photos: Path) -> None:
    def reply(x: int, name: str, *scores: float) -> Reply:
        text = f'{{"object_1": {{"bbox_2d": [{x}, 0, 500, 500], "desc": "cup"}}, '
        text += f'"object_2": {{"bbox_2d": [0, 0, 9, 9], "desc": "{name}"}}}}'
        return Reply(text, "stop", (1, 2, x), scores or None)

    here = [reply(10, "mug", -0.5, -0.25, -1.0), reply(10, "mug")]
    there = [reply(13, "pot", -0.5, -0.5, -9.0), reply(10, "mug")]
    found = compared(scripted(generator), photos, here, there)
    assert (found.written.objects, found.written.objects_apart) == (3, 2)
    assert (found.written.largest_shift, found.largest_logprob_gap) == (3.0, 0.25)
    assert [(gap.record, gap.equal_tokens) for gap in found.gaps] == [("photos.jsonl:1", 2)]
    assert found.gaps[0].there.startswith("3, 0, 500")


def test_without_tokens_the_texts_are_compared(generator: Any, photos: Path) -> None:
    here = [Reply("abc", "stop", (1, 2)), Reply("abc", "stop", (1, 2))]
    there = [Reply("abc", "stop"), Reply("abX", "stop")]
    found = compared(replace(scripted(generator), mode="summary"), photos, here, there)
    assert found.gaps == (AnswerGap("photos.jsonl:2", 2, "c", "X"),)
    assert (found.written.largest_shift, found.largest_logprob_gap) == (None, None)
    longer = compared(scripted(generator), photos, here[:1], [Reply("abc", "length", (1, 2))])
    assert not longer.passes


def test_each_tile_is_a_question_of_its_own(generator: Any, photos: Path) -> None:
    cut = replace(resolve_profile(DataConfig()), tiles=Tiling(64, 0.0))
    predictor = replace(scripted(generator), profile=cut)
    here, there = [Reply("{}", "stop")] * 4, [*[Reply("{}", "stop")] * 3, Reply("{", "stop")]
    found = compared(predictor, photos, here, there, num_records=1)
    assert (found.records, found.written.answers, found.written.equal) == (1, 4, 3)
    assert [gap.record for gap in found.gaps] == ["photos.jsonl:1 64x64 at (36, 6)"]


@pytest.mark.parametrize("name", ["num_records", "max_new_tokens"])
def test_numbers_must_be_positive(photos: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="must be at least 1, not 0"):
        options("http://localhost", photos, **{name: 0})


def test_a_model_in_this_process_is_no_server(photos: Path) -> None:
    with pytest.raises(ConfigError, match="server to check must be given by its address"):
        ServeCheckOptions(EngineOptions(), (photos,))


def test_no_records_are_an_error(source: ModelSource, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ConfigError, match="--data must hold at least one record"):
        check_server(source, options("http://localhost", tmp_path / "empty.jsonl"))
