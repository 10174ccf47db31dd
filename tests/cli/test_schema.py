"""``dcap schema``: what it says of the augmentation ops; the config as a whole is in ``test_main.py``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from dcap.augment import OPS
from dcap.cli.__main__ import main
from dcap.cli.schema import config_schema

SHIPPED = [name for name in OPS if OPS.get(name).__module__.startswith("dcap.")]


def op_item() -> dict[str, Any]:
    item: dict[str, Any] = config_schema()["properties"]["augmentation"]["properties"]["ops"]["items"]
    return item


@pytest.fixture(scope="module")
def branches() -> dict[str, dict[str, Any]]:
    """What follows from each name."""
    return {branch["if"]["properties"]["name"]["const"]: branch["then"] for branch in op_item()["allOf"]}


@pytest.mark.parametrize("name", SHIPPED)
def test_an_editor_knows_the_parameters_of_each_op(name: str, branches: dict[str, dict[str, Any]]) -> None:
    then = branches[name]
    params = then["properties"]["params"]
    op: Any = OPS.get(name)
    fields = {field.name: field.default for field in dataclasses.fields(op)}
    assert set(params["properties"]) == set(fields)
    assert params["additionalProperties"] is False
    for field, about in params["properties"].items():
        given = fields[field] is not dataclasses.MISSING
        assert about["description"]
        assert ("default" in about) == given
        assert (field in params.get("required", [])) != given
    assert then["required"] == ["params"] * ("required" in params)


def test_an_editor_takes_known_names_alone() -> None:
    item = op_item()
    assert set(SHIPPED) <= set(item["properties"]["name"]["enum"])
    assert item["required"] == ["name"]


def test_the_ops_are_listed_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--ops"]) == 0
    out = capsys.readouterr().out
    assert [name for name in SHIPPED if f"\n{name}: " not in out] == []
    assert "\nhflip: Mirror left and right: x' = W - x.\n" in out
    assert "\n  max_deg (must be given)\n      Largest angle, degrees, 0..180.\n" in out
    _, _, crop = out.partition("\nrandom_crop: ")
    crop = crop.partition("\n\n")[0]
    assert "\n  min_coverage = 0.3\n      Drop objects" in crop
    assert "\n  scale = [0.5, 1.0]\n" in crop
    assert "`" not in out


def test_the_list_of_ops_can_be_written_to_a_file(tmp_path: Path) -> None:
    assert main(["schema", "--ops", "--out", str(tmp_path / "ops.txt")]) == 0
    assert "\nrotate: " in (tmp_path / "ops.txt").read_text("utf-8")
