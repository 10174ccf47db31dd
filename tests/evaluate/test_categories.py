"""Categories and attributes out of captions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.core.errors import ConfigError
from dcap.evaluate.categories import NO_CATEGORY, CategoryRule, equal_categories, read_attributes


@pytest.mark.parametrize(
    ("rule", "caption", "category"),
    [
        ("caption", "  Red  CUP ", "red cup"),
        ("key:class", "class=Red cup, size=2", "red cup"),
        ("key: Class ", "a road; CLASS = road", "road"),
        ("key:class", "a road", NO_CATEGORY),
        ("before:,", "Road, paved", "road"),
        ("before:,", "Road", "road"),
        ("before: - ", "T-shirt - red", "t-shirt"),
        ("before::", "road: paved", "road"),
    ],
)
def test_rules(rule: str, caption: str, category: str) -> None:
    assert CategoryRule.parse(rule).category(caption) == category


@pytest.mark.parametrize("text", ["", "class", "key", "key:", "key: ", "before:", "word:x", "caption:"])
def test_no_rule(text: str) -> None:
    with pytest.raises(ConfigError, match="category must be caption, key:NAME or before:SEPARATOR, not "):
        CategoryRule.parse(text)


@pytest.mark.parametrize("text", ["caption", "key:class", "before:, "])
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(CategoryRule.parse(text)) == text


@pytest.mark.parametrize(
    ("caption", "attributes"),
    [
        ("a road", {}),
        ("class=road, surface=paved;lanes=2|lit=yes\nwet=no", {
            "class": "road", "surface": "paved", "lanes": "2", "lit": "yes", "wet": "no"}),
        ("size = very large color = dark red", {"size": "very large", "color": "dark red"}),
        ("a road, surface=paved, 2 lanes", {"surface": "paved"}),
        ("类别=道路，颜色=红", {"类别": "道路", "颜色": "红"}),
        ("class=a, class=b", {"class": "a"}),
        ("=x, y=", {"y": ""}),
        ("Class=ROAD", {"class": "road"}),
    ],
)  # fmt: skip
def test_attributes(caption: str, attributes: dict[str, str]) -> None:
    assert read_attributes(caption) == attributes


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="a =,;|\n三", max_size=30))
def test_any_caption_is_read_to_normal_keys_and_values(caption: str) -> None:
    for key, value in read_attributes(caption).items():
        assert key
        assert key == key.strip()
        assert value == value.strip()
        assert not set(key + value) & set("=,;|\n")


def test_equal_categories_for_each_pair() -> None:
    assert equal_categories(["a", "b"], ["b", "a", "c"]).tolist() == [[False, True, False], [True, False, False]]
    assert equal_categories([], ["a"]).shape == (0, 1)


def test_objects_without_a_category_have_none_in_common() -> None:
    rule = CategoryRule("key", "class")
    names = rule.categories(["class=cup", "a thing"])
    assert names == ("cup", NO_CATEGORY)
    assert equal_categories(names, names).tolist() == [[True, False], [False, False]]
