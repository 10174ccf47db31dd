from __future__ import annotations

import pytest

from dcap.augment.config import AugmentConfig, Completeness
from dcap.core.config import build, read_yaml
from dcap.core.errors import ConfigError

RULE = Completeness("显示完整", "只显示部分")


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        (RULE, "螺丝,显示完整,安装正确", "螺丝,只显示部分,安装正确"),
        (RULE, "螺丝,只显示部分", "螺丝,只显示部分"),
        (RULE, "螺丝", "螺丝"),
        (Completeness("complete", "incomplete"), "cup, complete", "cup, incomplete"),
        (Completeness("complete", "incomplete"), "cup, incomplete", "cup, incomplete"),
        (Completeness("in full", "in part"), "in full, in full", "in part, in part"),
    ],
)
def test_a_text_is_rewritten_once(rule: Completeness, before: str, after: str) -> None:
    assert rule.rewrite(before) == after
    assert rule.rewrite(after) == after


@pytest.mark.parametrize("texts", [("", "x"), ("x", ""), ("x", "x")])
def test_a_rule_that_changes_nothing_is_refused(texts: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^augmentation.completeness.complete and partial must"):
        build(AugmentConfig, {"completeness": dict(zip(("complete", "partial"), texts, strict=True))}, "augmentation")


def test_the_rule_is_read_from_yaml(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("completeness: {complete: 显示完整, partial: 只显示部分}\n", "utf-8")
    assert build(AugmentConfig, read_yaml(path)).completeness == RULE
