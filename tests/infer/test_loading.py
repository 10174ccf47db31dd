"""Which engine answers: the options that say so, and a predictor for each."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dcap.answers.profile import AnswerProfile, save_profile
from dcap.core.errors import ConfigError, ServerError
from dcap.data.config import DataConfig, resolve_profile
from dcap.infer import hf_engine as engine_module
from dcap.infer.loading import EngineOptions, load_predictor, open_predictor
from dcap.infer.openai_engine import OpenAiEngine
from dcap.infer.predictor import predict_image
from dcap.infer.source import find_source
from dcap.model.decoding import Decoding
from support.openai_server import Play, model_answer, serving, text_answer

SIX = Decoding(max_new_tokens=6)
ANSWER = AnswerProfile(min_pixels=4096, max_pixels=16_384)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A folder with an answer profile and no weights, as one has it who asks a server."""
    folder = tmp_path / "final"
    folder.mkdir()
    save_profile(folder, resolve_profile(DataConfig(answer=ANSWER)))
    return folder


@pytest.fixture
def tokenizer_only(micro_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(micro_folder / name, folder / name)
    return folder


@pytest.mark.parametrize("engine", ["", "vllm", "HF", "openai", "http://localhost"])
def test_an_unknown_engine_is_named(engine: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--engine must be hf or openai:URL, such as openai:http://localhost:8000/v1"
    ):
        EngineOptions(engine)


def test_a_wrong_engine_does_not_show_a_password() -> None:
    with pytest.raises(ConfigError, match=r"not http$"):
        EngineOptions("http://me:secret@localhost")


@pytest.mark.parametrize("url", ["ftp://host", "", "host:80"])
def test_an_address_that_is_none_is_named(profile: Path, micro_folder: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="address of the server must be"):
        load_predictor(micro_folder, profile, engine=f"openai:{url}")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("batch_size", 0, "--batch-size must be at least 1, not 0"),
        ("concurrency", 0, "--concurrency must be at least 1, not 0"),
        ("timeout_s", 0.0, "--timeout must be above 0 and at most 86400 seconds, not 0"),
        ("timeout_s", float("nan"), "not nan"),
        ("timeout_s", float("inf"), "not inf"),
    ],
)
def test_numbers_must_be_positive(name: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EngineOptions(**{name: value})


def test_a_server_needs_no_weights_here(profile: Path, tokenizer_only: Path, generator: Any, photos: Path) -> None:
    with pytest.raises(ConfigError, match=r"--model must be a folder with config\.json"):
        load_predictor(tokenizer_only, profile)
    with serving(
        Play(text_answer('{"object_1": {"bbox_2d": [0, 0, 500, 500], "desc": "cup"}}'), generator.tokenizer)
    ) as url:
        loaded = load_predictor(tokenizer_only, profile, engine=f"openai:{url}")
        assert loaded.profile.answer == ANSWER
        assert predict_image(loaded, photos.parent / "0.png").objects() == [
            {"desc": "cup", "bbox_2d": [0.0, 0.0, 50.0, 35.0]}
        ]


def test_a_server_and_this_process_give_the_same(
    micro_folder: Path, generator: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels, prompt and answer survive the way over the network."""
    monkeypatch.setattr(engine_module, "load_model", lambda *_, **__: generator.model)
    source = replace(find_source(str(micro_folder), None), profile=resolve_profile(DataConfig(answer=ANSWER)))
    local = open_predictor(source, EngineOptions(device="cpu").resolved(), SIX)
    with serving(Play(model_answer(generator), generator.tokenizer)) as url:
        remote = open_predictor(source, EngineOptions(f"openai:{url}").resolved(), SIX)
        for name in ("0.png", "2.png"):
            questions = [each.question(_pixels(photos.parent / name)) for each in (local, remote)]
            assert local.answers(questions[:1]) == remote.answers(questions[1:])


def _pixels(path: Path) -> Any:
    from dcap.records.images import decode_image

    return decode_image(path, None)


def test_a_server_that_resizes_is_refused_before_anything_is_asked(
    profile: Path, micro_folder: Path, generator: Any
) -> None:
    play = Play(text_answer("{}"), generator.tokenizer, bounds=(65_536, 1 << 24))
    with serving(play) as url, pytest.raises(ServerError, match="It resizes images"):
        load_predictor(micro_folder, profile, engine=f"openai:{url}")
    assert all(asked.body["max_tokens"] == 1 for asked in play.asked)


def test_the_address_of_a_server_is_not_what_answers_depend_on(generator: Any) -> None:
    with serving(Play(text_answer("{}"), generator.tokenizer)) as url:
        options = EngineOptions(f"openai:{url}").resolved()
        assert options.made_with() == {"engine": "openai", "server-model": "mine"}
        assert isinstance(options.server().address, str)
        assert OpenAiEngine.choose_model(options.server(), "mine") == "mine"


def test_a_loaded_model_sees_what_a_record_file_gives(
    generator: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "load_model", lambda *_, **__: generator.model)
    loaded = load_predictor("builtin:micro", device="cpu", decoding=SIX)
    alone = predict_image(loaded, photos.parent / "0.png")
    (reply,) = loaded.answers([loaded.question(_pixels(photos.parent / "0.png"))])
    assert (alone.text, alone.finish) == (reply.text, reply.finish)
