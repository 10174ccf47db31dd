"""Records that are made: their names, their options, and sources of other packages."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from dcap.core.errors import ConfigError, PluginError
from dcap.records.files.generated import RECORD_SOURCES, is_generated, open_generated, read_options
from dcap.records.files.opening import expand_sources, is_known, open_records, open_source, resolve_data
from dcap.records.files.source import RecordSource
from dcap.records.record import Origin


@dataclass(frozen=True)
class Options:
    num: int = 3
    words: tuple[str, ...] | None = None
    loud: bool = False


class Counted(RecordSource):
    def __init__(self, name: str, options: Options) -> None:
        self.path, self.options = Path(name), options

    def __len__(self) -> int:
        return self.options.num

    def origin(self, i: int) -> Origin:
        return Origin(str(self.path), self._row(i) + 1)

    def line(self, i: int) -> bytes:
        return msgspec.json.encode({"images": [f"{self._row(i)}.png"], "width": 8, "height": 4, "objects": []})


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RECORD_SOURCES, "_items", dict(RECORD_SOURCES._items))
    RECORD_SOURCES.register("counted", lambda name, given: Counted(name, read_options(Options, given, "counted")))

    def broken(name: str, given: object) -> RecordSource:
        raise KeyError(name)

    RECORD_SOURCES.register("broken", broken)


def test_a_source_of_another_package_gives_records_like_a_file() -> None:
    name = "builtin:counted?num=2&words=a,b"
    assert expand_sources([name, "builtin:photos/val.jsonl"]) == [Path(name), resolve_data("builtin:photos/val.jsonl")]
    assert is_generated(Path(name))
    assert is_known(name)
    source = open_source(Path(name))
    assert isinstance(source, Counted)
    assert source.options == Options(2, ("a", "b"))
    records = open_records([name, "builtin:counted"])
    assert [str(record.origin) for record in records] == [f"{name}:{i}" for i in (1, 2)] + [
        f"builtin:counted:{i}" for i in (1, 2, 3)
    ]
    assert pickle.loads(pickle.dumps(source))[1].image == "1.png"


def test_options_may_hold_any_sign() -> None:
    source = open_generated("builtin:counted?words=a%26b,c+d,e=f&&loud=true")
    assert isinstance(source, Counted)
    assert source.options == Options(3, ("a&b", "c+d", "e=f"), loud=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("builtin:count", "'builtin:count' must name bundled data; did you mean counted[?]"),
        ("builtin:photos?num=1", "must name bundled data; did you mean photos/"),
        (
            "builtin:counted?nmu=1",
            "builtin:counted[?]nmu=1: counted.nmu is not a field of counted; did you mean num[?]",
        ),
        ("builtin:counted?num=x", 'counted.num must be an integer, not "x"'),
        ("builtin:counted?num=[", "counted.num must have a YAML value"),
        ("builtin:counted?num", 'option must be KEY=VALUE, not "num"'),
        ("builtin:counted?num=1&num=1", "option num must be given once, not twice"),
        ("builtin:counted?words=", "counted.words must have a value, and is empty. Leave it out for the default"),
        ("builtin:counted?words=1,a", r"counted.words\[0\] must be a string, not 1"),
    ],
)
def test_names_and_options_that_cannot_be_meant(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        expand_sources([name])


def test_a_source_that_fails_is_named() -> None:
    with pytest.raises(PluginError, match="source of records builtin:broken must not fail, and raised KeyError"):
        open_generated("builtin:broken")
