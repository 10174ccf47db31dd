from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from dcap.core.config import (
    MAX_VALUES,
    apply_overrides,
    build,
    check_fields,
    differences,
    dump_yaml,
    merge,
    read_yaml,
    to_tree,
)
from dcap.core.errors import ConfigError
from dcap.core.schema import field_docs, json_schema


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    """A rate."""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError(f"rate must be at least 0, not {self.rate}")


@dataclass(frozen=True)
class Outer:
    count: int
    """How many."""
    kind: Literal["a", "b"] = "a"
    inner: Inner = field(default_factory=Inner)
    items: tuple[Inner, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    maybe: int | None = None
    text_or_list: tuple[str, ...] | str = ""

    def __post_init__(self) -> None:
        check_fields(self)


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_builds_nested_values() -> None:
    tree = {"count": 3, "kind": "b", "inner": {"rate": 1}, "items": [{"rate": 2.5, "names": ["x"]}], "pair": [1, 2]}
    assert build(Outer, tree) == Outer(3, "b", Inner(1.0), (Inner(2.5, ("x",)),), (1.0, 2.0))


def test_values_that_are_given_in_code_become_those_of_the_file() -> None:
    given: Any = {"inner": {"rate": 1}, "items": [Inner(2.5)], "pair": [1, 2], "text_or_list": Path("a/b")}
    made = Outer(3, **given)
    assert made == Outer(3, "a", Inner(1.0), (Inner(2.5),), (1.0, 2.0), None, "a/b")
    assert all(type(number) is float for number in (made.inner.rate, *made.pair))
    for name, value, message in (
        ("kind", "c", 'kind must be one of "a", "b", not "c"'),
        ("inner", {"rate": "x"}, "inner.rate must be a number"),
        ("items", [1], r"items\[0\] must be a section of keys"),
    ):
        with pytest.raises(ConfigError, match=f"^{message}"):
            Outer(3, **{name: value})


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "count must be given"),
        ({"count": "3"}, 'count must be an integer, not "3"'),
        ({"count": True}, "count must be an integer, not true"),
        ({"count": 3.0}, "count must be an integer, not 3.0"),
        ({"count": 1, "kind": "c"}, 'kind must be one of "a", "b", not "c"'),
        ({"count": 1, "knid": "a"}, "knid is not a field of the config; did you mean kind?"),
        ({"count": 1, "inner": {"raet": 1}}, "inner.raet is not a field of inner; did you mean rate?"),
        ({"count": 1, "inner": {"rate": -1}}, "inner.rate must be at least 0"),
        ({"count": 1, "inner": {"rate": float("nan")}}, "inner.rate must be finite"),
        ({"count": 1, "items": [{}, {"rate": "x"}]}, r'items\[1\].rate must be a number, not "x"'),
        ({"count": 1, "items": {"rate": 1}}, "items must be a list"),
        ({"count": 1, "pair": [1]}, "pair must be a list of 2 values, not 1"),
        ({"count": 1, "maybe": "x"}, "maybe must be an integer"),
        ({"count": 1, "text_or_list": 4}, "text_or_list must be a list or a string, not 4"),
        ({"count": 1, "text_or_list": [4]}, r"text_or_list\[0\] must be a string, not 4"),
        ([1], "config must be a section of keys"),
    ],
)
def test_wrong_values_name_the_dotted_path(tree: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Outer, tree)


def test_extends_merges_bases_in_order(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "count: 1\nkind: a\ninner: {rate: 0.25, names: [x]}\n")
    write(tmp_path, "sub/b.yaml", "kind: b\nextends: ../a.yaml\n")
    top = write(tmp_path, "top.yaml", "extends: [a.yaml, sub/b.yaml]\ninner: {rate: 2}\n")
    assert build(Outer, read_yaml(top)) == Outer(1, "b", Inner(2.0, ("x",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: self.yaml", "must not form a cycle: self.yaml -> self.yaml"),
        ("extends: 5", "extends must be a path or a list of paths, not 5"),
        ("extends: [a.yaml, 5]", "extends must be a path or a list of paths"),
        ("extends: gone.yaml", "gone.yaml: config must exist"),
        ("- 1", r"must be a mapping of sections, not \[1\]"),
        ("", "must be a mapping of sections, not null"),
        ("a: [1", "self.yaml: "),
        ("a: 1\na: 2", 'line 2 column 1: key "a" must be given once'),
        ("? [1]\n: 2", r"self.yaml: line 1 column 3: key must be a text, not \[1\]"),
        ("x: !!python/object:os.system {}", "self.yaml: "),
        ("a: {x: 1, y: [1, *z]}", r"self.yaml: line 1 column \d+: text must be YAML: found undefined alias"),
        ("a: &a [*a]", "line 1 column 4: value must not hold itself by an alias"),
        (BOMB, f"value must hold at most {MAX_VALUES} values, those of its aliases counted"),
        ("a: " + "[" * 5000, "line 1 column 67: value must not be nested deeper than 64 levels"),
        ("a: " + "1" * 5000, "line 1 column 4: value must be one that YAML knows"),
        ("a: 0x" + "f" * 5000, "line 1 column 4: number must have at most 300 digits"),
        ("a: 2020-13-45", "line 1 column 4: value must be one that YAML knows"),
        ("a: !!bool x", "line 1 column 4: value must be one that YAML knows"),
        ("\x01", "self.yaml: text must be YAML: "),
        ('extends: "a\\0.yaml"', "extends must be a path or a list of paths"),
        ("extends: " + "x" * 5000, "config must be a regular file, not one that cannot be opened .File name too long"),
        ("extends: .", "config must be a regular file, not a folder"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_yaml(write(tmp_path, "self.yaml", text))


def test_too_large_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most"):
        read_yaml(write(tmp_path, "big.yaml", "#" * (1 << 20) + "\na: 1"))


def test_numbers_with_exponents_are_numbers(tmp_path: Path) -> None:
    tree = read_yaml(write(tmp_path, "n.yaml", "a: 1e-4\nb: 5e3\nc: 1.5e-2\nd: 12\ne: e5\n"))
    assert tree == {"a": 1e-4, "b": 5e3, "c": 1.5e-2, "d": 12, "e": "e5"}
    assert type(tree["d"]) is int


def test_overrides_reach_into_lists_and_new_sections() -> None:
    tree = apply_overrides({"ops": [{"p": 1}, {"p": 2}]}, ["ops[1].p=3e-1", "new.key=[1, a]", "flag=null"])
    assert tree == {"ops": [{"p": 1}, {"p": 0.3}], "new": {"key": [1, "a"]}, "flag": None}


@pytest.mark.parametrize("item", ["novalue", "=1", "ops[5].p=1", "ops.p=1", "n.x=1", "a=[1"])
def test_bad_overrides_are_refused(item: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        apply_overrides({"ops": [{"p": 1}], "n": 4}, [item])


def test_merge_replaces_lists_and_joins_mappings() -> None:
    assert merge({"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"y": 3}, "b": [2]}) == {"a": {"x": 1, "y": 3}, "b": [2]}


@example(Outer(1, inner=Inner(names=("\x85", "\u2028", "杯子"))))
@given(
    st.builds(
        Outer,
        count=st.integers(-5, 5),
        inner=st.builds(
            Inner,
            rate=st.floats(0, 1e6),
            names=st.lists(st.text(st.characters(exclude_characters="\0")), max_size=3).map(tuple),
        ),
        maybe=st.none() | st.integers(),
        pair=st.tuples(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300)),
    )
)
def test_dump_and_build_round_trip(config: Outer) -> None:
    assert build(Outer, yaml.safe_load(dump_yaml(config))) == config
    assert build(Outer, to_tree(config)) == config


def test_schema_describes_fields() -> None:
    assert field_docs(Outer)["count"] == "How many."
    schema = json_schema(Outer)
    assert schema["required"] == ["count"]
    assert schema["properties"]["inner"]["properties"]["rate"]["description"] == "A rate."
    assert schema["properties"]["kind"]["enum"] == ["a", "b"]
    assert schema["additionalProperties"] is False


@dataclass(frozen=True)
class Longer(Inner):
    extra: int = 3
    """One more."""


def test_inherited_fields_are_described() -> None:
    assert field_docs(Longer) == {**field_docs(Inner), "extra": "One more."}
    assert field_docs(Inner)


def test_a_class_without_source_text_has_no_descriptions() -> None:
    scope: dict[str, Any] = {"__name__": __name__, "dataclass": dataclass}
    exec('@dataclass\nclass Typed:\n    count: int = 3\n    """How many."""', scope)
    assert field_docs(scope["Typed"]) == {}
    assert json_schema(scope["Typed"])["properties"]["count"] == {"type": "integer", "description": "", "default": 3}


def test_every_difference_is_named() -> None:
    found = dict(differences({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 1, "c": [2]}, "e": 3}))
    assert set(found) == {"a.c", "d", "e"}
    assert found["a.c"] == "a.c was [1] and is [2]"
