from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from dcap.core import registry as module
from dcap.core.errors import ConfigError, PluginError
from dcap.core.registry import Registry, calling


def test_register_and_get() -> None:
    things: Registry[int] = Registry("thing", "dcap.none")
    things.register("one", 1)
    assert things.get("one") == 1
    assert "one" in things
    assert list(things) == ["one"]


def test_a_name_is_taken_once() -> None:
    things: Registry[object] = Registry("thing", "dcap.none")
    things.register("one", "x")
    things.register("one", "x")
    with pytest.raises(ConfigError, match="thing 'one' must be registered once"):
        things.register("one", "y")


def test_unknown_name_gets_the_nearest() -> None:
    things: Registry[int] = Registry("thing", "dcap.none")
    things.register("rotate", 1)
    with pytest.raises(ConfigError, match=r"ops\[0\]: 'rotat' is not a known thing; did you mean rotate\?"):
        things.get("rotat", "ops[0]")


def test_entry_points_are_loaded_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("outside", "math:pi", "dcap.some"), EntryPoint("broken", "no_such:x", "dcap.some")]

    def fake(group: str, name: str | None = None) -> list[EntryPoint]:
        return [p for p in points if p.group == group and name in (None, p.name)]

    monkeypatch.setattr(module, "entry_points", fake)
    things: Registry[float] = Registry("thing", "dcap.some")
    assert set(things) == {"outside", "broken"}
    assert things.get("outside") == pytest.approx(3.14159, abs=1e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [("no_such:x", "ModuleNotFoundError: No module named 'no_such'"), ("math:no", "AttributeError")],
)
def test_an_entry_point_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    points = [EntryPoint("broken", value, "dcap.some")]
    monkeypatch.setattr(module, "entry_points", lambda **_: points)
    things: Registry[float] = Registry("thing", "dcap.some")
    with pytest.raises(PluginError) as caught:
        things.get("broken")
    text = str(caught.value)
    assert text.startswith(f"entry point broken = '{value}' of dcap.some must not fail, and raised {message}")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError | AttributeError)


def test_an_error_of_dcap_from_outside_code_stays_what_it_is() -> None:
    with pytest.raises(ConfigError, match=r"^mine$"), calling("plugin"):
        raise ConfigError("mine")


def test_the_name_of_what_is_registered_needs_no_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("broken", "no_such:x", "dcap.some"), EntryPoint("pi", "math:pi", "dcap.some")]

    def fake(group: str, name: str | None = None) -> list[EntryPoint]:
        return [p for p in points if p.group == group and name in (None, p.name)]

    monkeypatch.setattr(module, "entry_points", fake)
    things: Registry[object] = Registry("thing", "dcap.some")
    mine = object()
    things.register("mine", mine)
    assert things.name_of(mine) == "mine"
    with pytest.raises(PluginError, match="broken"):
        things.name_of(object())
