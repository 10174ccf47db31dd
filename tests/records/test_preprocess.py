"""Record preprocessors: order, drops, parameters, and one registered from outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dcap.core.errors import ConfigError, PluginError, RecordError
from dcap.records.preprocess import PREPROCESSORS, Chain, MinObjects, Preprocessor, PreprocessorConfig
from dcap.records.record import Origin, Record, parse_record


@pytest.fixture
def cup(make_record: Callable[..., dict[str, Any]]) -> Record:
    return parse_record(json.dumps(make_record()).encode(), Origin("train.jsonl", 7))


@pytest.fixture
def outside() -> Iterator[None]:
    """Two preprocessors as another package would register them."""

    @PREPROCESSORS.register("shout")
    @dataclass(frozen=True)
    class Shout:
        mark: str = "!"

        def __call__(self, record: Record) -> Record | None:
            return replace(record, captions=tuple(text.upper() + self.mark for text in record.captions))

    @PREPROCESSORS.register("only")
    def only(word: str) -> Preprocessor:
        if not word:
            raise ValueError("no word")
        return lambda record: record if word in record.captions else None

    yield
    for name in ("shout", "only"):
        del PREPROCESSORS._items[name]


def chain(*steps: tuple[str, dict[str, Any]]) -> Chain:
    return Chain.from_config([PreprocessorConfig(name, params) for name, params in steps])


def test_no_steps_change_nothing(cup: Record) -> None:
    assert Chain().apply(cup) == (cup, None)


@pytest.mark.usefixtures("outside")
def test_steps_run_in_order(cup: Record) -> None:
    record, dropped_by = chain(("only", {"word": "cup"}), ("shout", {"mark": "?"})).apply(cup)
    assert record is not None
    assert (record.captions, dropped_by) == (("CUP?",), None)
    assert cup.captions == ("cup",)
    assert chain(("shout", {}), ("only", {"word": "cup"})).apply(cup) == (None, "only")


def test_min_objects(cup: Record) -> None:
    assert chain(("min_objects", {})).apply(cup) == (cup, None)
    assert chain(("min_objects", {"count": 2})).apply(cup) == (None, "min_objects")
    assert MinObjects(1)(cup) is cup


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("shuot", {}, r"data.preprocessors\[0\].name: 'shuot' is not a known preprocessor; did you mean shout\?"),
        ("shout", {"mrak": "!"}, r"data.preprocessors\[0\].params.mrak is not a field .* did you mean mark\?"),
        ("shout", {"mark": 5}, r"data.preprocessors\[0\].params.mark must be a string, not 5"),
        ("only", {}, r"data.preprocessors\[0\].params must be what only takes: missing a required argument: 'word'"),
        ("only", {"word": "a", "x": 1}, "got an unexpected keyword argument 'x'"),
    ],
)
def test_wrong_names_and_parameters_are_config_errors(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chain((name, params))


def test_a_step_that_returns_something_else_is_named(cup: Record) -> None:
    steps = Chain((("broken", lambda record: True),))  # type: ignore[arg-type, return-value]
    with pytest.raises(
        RecordError, match=r"train.jsonl:7: preprocessor 'broken' must return a Record or None, not bool"
    ):
        steps.apply(cup)


def test_a_step_that_fails_is_named_with_the_record_and_the_place(cup: Record) -> None:
    def broken(record: Record) -> Record:
        return replace(record, captions=record.metadata["texts"])

    with pytest.raises(PluginError) as caught:
        Chain((("broken", broken),)).apply(cup)
    line = broken.__code__.co_firstlineno + 1
    assert str(caught.value) == (
        "train.jsonl:7: preprocessor 'broken' must not fail, and raised KeyError: 'texts' "
        f"({broken.__code__.co_filename}:{line})"
    )
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.usefixtures("outside")
def test_a_maker_that_fails_is_named() -> None:
    with pytest.raises(
        PluginError, match=r"data.preprocessors\[0\].params: only must not fail, .* ValueError: no word"
    ):
        chain(("only", {"word": ""}))
