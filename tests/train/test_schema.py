"""What the JSON Schema of a config says of the augmentation ops."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dcap.augment import OPS
from dcap.train.schema import config_schema

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
