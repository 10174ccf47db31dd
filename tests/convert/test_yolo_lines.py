"""Lines of label files: no number changes its meaning by the length of its line."""

from __future__ import annotations

import numpy as np
import pytest

from dcap.convert.yolo_lines import LineKind, LineReader, check_kind
from dcap.core.errors import RecordError

NAMES = {0: "cup", 1: "", 2: "dog"}
QUAD = "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5"
TURNED = "0 0.780811 0.743961 0.782371 0.74686 0.777691 0.752174 0.776131 0.749758"
POSE3 = "0 0.5 0.5 0.4 0.4 0.4 0.4 2 0.6 0.6 0"
POSE2 = "0 0.5 0.5 0.4 0.4 0.4 0.4 0.6 0.55"


def shape(line: str, kind: LineKind = "auto", keypoints: tuple[int, int] | None = None) -> tuple[str, list[float], int]:
    parsed = LineReader(NAMES, kind, keypoints).parse(line)
    assert parsed is not None
    return parsed.key, parsed.values, parsed.keypoints


@pytest.mark.parametrize(
    ("kind", "line", "found"),
    [
        ("auto", "0 0.5 0.5 0.2 0.4", ("bbox_2d", 4, 0)),
        ("auto", QUAD, ("poly", 8, 0)),
        ("auto", TURNED, ("poly", 8, 0)),
        ("auto", "0 0.1 0.1 0.5 0.1 0.5 0.5", ("poly", 6, 0)),
        ("boxes", "0 0.5 0.5 0.2 0.4", ("bbox_2d", 4, 0)),
        ("obb", QUAD, ("poly", 8, 0)),
        ("segments", QUAD, ("poly", 8, 0)),
        ("segments", POSE3[:-2] + " 0.1", ("poly", 10, 0)),
        ("pose", POSE3, ("bbox_2d", 4, 6)),
        ("pose", POSE2, ("bbox_2d", 4, 4)),
    ],
)
def test_each_kind(kind: LineKind, line: str, found: tuple[str, int, int]) -> None:
    if kind == "segments" and "2 0.6" in line:
        with pytest.raises(RecordError, match="must be a share"):
            shape(line, kind)
        return
    key, values, keypoints = shape(line, kind)
    assert (key, len(values), keypoints) == found


@pytest.mark.parametrize(
    ("kind", "line", "said"),
    [
        ("boxes", QUAD, "line must hold a box of 4 numbers behind the class, not 8"),
        ("boxes", "0 0.5 0.5 0.2 0.4 0.9", "not 5 numbers"),
        ("obb", "0 0.5 0.5 0.2 0.4", "line must hold four corners, 8 numbers behind the class, not 4"),
        ("obb", "0 0.1 0.1 0.5 0.1 0.5 0.5", "not 6 numbers"),
        ("segments", "0 0.5 0.5 0.2 0.4", "line must hold a polygon of at least 3 pairs behind the class, not 4"),
        ("segments", "0 0.1 0.1 0.5 0.1 0.5 0.5 0.9", "not 7 numbers"),
        ("pose", "0 0.5 0.5 0.2 0.4", "line must hold a box and keypoints"),
        ("pose", "0 0.5 0.5 0.2 0.4 1", "line must hold a box and keypoints"),
        ("auto", "0 0.5 0.5 0.2 0.4 0.9", "not 5 numbers. A fifth number, a confidence or an angle, is not read"),
        ("auto", "0 0.5 0.5 0.2 0.4 0.5 0.5 1", "box with 1 keypoint of 3 numbers, give --lines pose"),
        (
            "auto",
            POSE3,
            "of a kind that is known: 10 numbers .* --lines pose or --lines segments, or kpt",
        ),
        ("auto", "0", "not 0 numbers"),
        ("auto", "0 0.5 0.5", "not 2 numbers"),
        ("auto", "1 0.5 0.5 0.2 0.4", "class 1 must have a name, and the list of classes leaves it blank"),
        ("auto", "3 0.5 0.5 0.2 0.4", "class must be one of the 2 names, not 3"),
        ("auto", "0.5 0.5 0.5 0.2 0.4", "class must be a whole number from 0 on, not 0.5"),
        ("auto", "-1 0.5 0.5 0.2 0.4", "class must be a whole number from 0 on, not -1"),
        ("auto", "cup 0.5 0.5 0.2 0.4", "line must be a class and numbers"),
        ("auto", "0 0,5 0,5 0,2 0,4", "line must be a class and numbers"),
        ("auto", "0 0_5 0.5 0.2 0.4", "line must be a class and numbers"),
        ("auto", "0 0.1 0.1 0.5 0.1 0.5 1.3", r"coordinates\[5\] must be a share of the side, from 0 to 1, not 1\.3$"),
        (
            "auto",
            "0 10 10 50 10 50 50",
            r"coordinates\[0\] must be a share .*, not 10\. .* are pixels",
        ),
        ("auto", "0 0.1 inf 0.5 0.1", r"coordinates\[1\] must be a finite number, not inf"),
        ("auto", "937 913 921 912 923 874 940 875 small-vehicle 0", "this is DOTA's form: .* Give --lines dota"),
        ("auto", "gsd:0.146343", "this is DOTA's form"),
        ("auto", "'imagesource':GoogleEarth", "this is DOTA's form"),
        ("dota", "0 0.5 0.5 0.2 0.4", "line must be four corners in pixels, a class by its name"),
        ("dota", "1 1 5 1 5 4 1 4 ship x", 'difficult must be a whole number, not "x"'),
    ],
)
def test_a_line_of_another_kind_is_an_error(kind: LineKind, line: str, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        shape(line, kind)


def test_what_kpt_shape_says_holds() -> None:
    assert shape(POSE3, "auto", (2, 3)) == ("bbox_2d", [0.3, 0.3, 0.7, 0.7], 6)
    assert shape(POSE2, "pose", (2, 2)) == ("bbox_2d", [0.3, 0.3, 0.7, 0.7], 4)
    for line in ("0 0.5 0.5 0.4 0.4", QUAD, POSE2, POSE3 + " 0.1 0.1 1"):
        with pytest.raises(RecordError, match="a box and 2 keypoints of 3 numbers, as kpt_shape says: 10 numbers"):
            shape(line, "auto", (2, 3))


def test_numbers_of_classes_in_quotes_or_with_a_point() -> None:
    for word in ("2", "2.0", "2.000000", '"2"'):
        parsed = LineReader(NAMES).parse(f"{word} 0.5 0.5 0.4 0.4")
        assert parsed is not None
        assert parsed.desc == "dog"


def test_a_rounding_is_no_loss() -> None:
    rng = np.random.default_rng(3)
    low, size = rng.random((2000, 2)) * 0.4, rng.random((2000, 2)) * 0.5
    low[::3, 0], low[1::3, 1] = 0, 1 - size[1::3, 1]
    for corner, side in zip(low.tolist(), size.tolist(), strict=True):
        numbers = [corner[0] + side[0] / 2, corner[1] + side[1] / 2, *side]
        _, values, _ = shape("0 " + " ".join(f"{value:.6f}" for value in numbers))
        assert min(values) >= 0
        assert max(values) <= 1
        assert np.allclose(values, [*corner, corner[0] + side[0], corner[1] + side[1]], rtol=0, atol=1e-5)
    assert shape("0 -0.000004 0 0.5 1.000004 0.5 0.5")[1] == [0, 0, 0.5, 1, 0.5, 0.5]
    assert shape("0 -0.1 0 0.5 1.1 0.5 0.5")[1] == [-0.1, 0, 0.5, 1.1, 0.5, 0.5]  # outside: the assembler cuts it


def polygons(rng: np.random.Generator, n: int) -> str:
    """Return a line of a polygon around a random centre."""
    angles, radius = np.sort(rng.random(n)) * 2 * np.pi, 0.1 + 0.1 * rng.random((n, 1))
    xy = 0.5 + 0.3 * (rng.random(2) - 0.5) + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    return "0 " + " ".join(f"{value:.6f}" for value in xy.ravel())


def poses(rng: np.random.Generator, n: int) -> str:
    """Return a line of a box with keypoints in it, some of them not labelled."""
    size = 0.1 + 0.3 * rng.random(2)
    center = size / 2 + rng.random(2) * (1 - size)
    xy = (center + size * (rng.random((n, 2)) - 0.5)) * (rng.random((n, 1)) > 0.2)
    return "0 " + " ".join(f"{value:.6f}" for value in (*center, *size, *xy.ravel()))


def test_keypoints_are_told_from_corners_by_all_lines_together() -> None:
    rng = np.random.default_rng(5)
    check_kind([])
    check_kind(["0 0.5 0.5 0.4 0.4", *[POSE2] * 9])  # boxes without keypoints are among them
    check_kind([polygons(rng, 5) for _ in range(30)])
    check_kind([polygons(rng, int(n)) for n in rng.integers(3, 9, 30)])
    check_kind([QUAD] * 30)
    check_kind([TURNED] * 30)
    check_kind(["broken", "0 x y"])
    for n in (1, 2, 5, 17):
        with pytest.raises(RecordError, match=rf"each has {4 + 2 * n} numbers .*, a box with {n} keypoints? or"):
            check_kind([poses(rng, n) for _ in range(30)])


def test_dota_lines() -> None:
    reader = LineReader({}, "dota")
    assert reader.parse("imagesource:GoogleEarth") is None
    assert reader.parse("1 1 5 1 5 4 1 4.5 ship") == ("ship", "poly", [1, 1, 5, 1, 5, 4, 1, 4.5], 0, 0)
    assert reader.parse("1 1 5 1 5 4 1 4.5 0 1") == ("0", "poly", [1, 1, 5, 1, 5, 4, 1, 4.5], 0, 1)
