"""Look-alikes: copies of a picture are found, other pictures are not, in any order and number."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.sparse.csgraph import connected_components

import dcap
from dcap.core.errors import ImageError
from dcap.records import look_alikes as module
from dcap.records.look_alikes import Looks, find_look_alikes, look_at, look_at_all, look_of

PHOTOS = sorted((Path(dcap.__file__).parent / "assets" / "photos" / "images").iterdir())
Pixels = npt.NDArray[np.uint8]


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def jpeg(image: Image.Image) -> Image.Image:
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=30)
    return Image.open(data)


def cut(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 100, height // 100, width - width // 100, height - height // 100))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of low quality": jpeg,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "a fifth of the size": lambda image: image.resize((image.width // 5, image.height // 5)),
    "brighter": lambda image: image.convert("RGB").point(lambda value: min(255, round(value * 1.08))),
    "without its border": cut,
}


def groups(*images: Pixels) -> list[int]:
    return find_look_alikes(Looks.concatenate([look_of(image) for image in images])).tolist()


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_photos_look_alike_and_the_photos_do_not(name: str) -> None:
    photos = [Image.open(path) for path in PHOTOS]
    copies = [pixels(COPIES[name](photo)) for photo in photos]
    n = len(photos)
    assert groups(*map(pixels, photos), *copies) == [*range(n), *range(n)]


def test_mirrored_and_turned_copies_are_other_pictures() -> None:
    photo = pixels(Image.open(PHOTOS[0]))
    assert groups(photo, photo[:, ::-1].copy(), photo[::-1].copy()) == [0, 1, 2]


def test_plain_images_of_other_colours_are_other_pictures() -> None:
    red, darker, blue = (np.full((40, 40, 3), color, np.uint8) for color in ((200, 0, 0), (190, 0, 0), (0, 0, 200)))
    assert groups(red, darker, blue) == [0, 0, 2]


def test_a_shape_makes_a_plain_image_another_one() -> None:
    grey = np.full((160, 160, 3), 128, np.uint8)
    left, right = grey.copy(), grey.copy()
    left[40:70, 20:50], right[40:70, 100:130] = (255, 0, 0), (255, 0, 0)
    assert groups(grey, left, right) == [0, 1, 2]


def test_what_looks_like_a_look_alike_is_of_the_group() -> None:
    steps = [np.full((16, 16, 3), value, np.uint8) for value in (100, 160, 130)]
    assert groups(*steps[:2]) == [0, 1]
    assert groups(*steps) == [0, 0, 0]


def test_groups_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(5)
    colors = rng.integers(0, 256, (300, 192), dtype=np.uint8)
    bits = rng.integers(0, 2**64, 300, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (300, 4), dtype=np.uint64)
    other = bits ^ flips[:, 0] ^ flips[:, 1] ^ flips[:, 2] ^ flips[:, 3]
    moved = np.clip(colors.astype(int) + rng.integers(-20, 21, colors.shape), 0, 255).astype(np.uint8)
    looks = Looks(np.concatenate([bits, other]), np.concatenate([colors, moved]))
    found = find_look_alikes(looks)
    assert found.tolist() == [*range(300), *range(300)]
    order = rng.permutation(600)
    again = find_look_alikes(Looks(looks.bits[order], looks.colors[order]))
    assert (found[order][again] == found[order]).all()
    assert len(np.unique(again)) == 300


def test_the_search_finds_what_comparing_all_finds() -> None:
    rng = np.random.default_rng(6)
    # All images share their first byte, so each is compared with hundreds; some are a few bits from another one.
    bits = rng.integers(0, 2**56, 900, dtype=np.uint64)
    for i in range(600, 900):
        places = rng.permutation(56)[: rng.integers(1, 12)].astype(np.uint64)
        bits[i] = np.bitwise_xor.reduce(np.uint64(1) << places, initial=bits[i - 600])
    colors = np.repeat(rng.integers(0, 4, (900, 1), dtype=np.uint8) * np.uint8(30), 192, axis=1)
    found = find_look_alikes(Looks(bits, colors))
    differ = np.bitwise_count(bits[:, None] ^ bits)
    alike = (differ <= module.MOST_BITS) & (np.abs(colors[:, None, 0].astype(int) - colors[:, 0]) <= module.MOST_COLOR)
    _, wanted = connected_components(alike, directed=False)
    assert 620 < wanted.max() < 880
    assert (found[:, None] == found).tolist() == (wanted[:, None] == wanted).tolist()


def test_bits_that_differ_in_each_byte_are_another_picture() -> None:
    bits = np.array([0x5555_5555_5555_5555, 0x5454_5454_5454_5454], np.uint64)
    assert find_look_alikes(Looks(bits, np.zeros((2, 192), np.uint8))).tolist() == [0, 1]


def test_no_images_have_no_groups() -> None:
    assert find_look_alikes(Looks.concatenate([])).tolist() == []


def test_files_are_seen_as_displayed_and_by_any_number_of_processes(tmp_path: Path) -> None:
    photo = Image.open(PHOTOS[0]).convert("RGB")
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif, quality=90)
    large = tmp_path / "large.jpg"
    photo.resize((photo.width * 3, photo.height * 3)).save(large)
    paths = [PHOTOS[0], turned, large, *PHOTOS[1:]] * 9
    one, two = look_at_all(paths), look_at_all(paths, num_workers=2)
    assert (one.bits == two.bits).all()
    assert (one.colors == two.colors).all()
    assert find_look_alikes(one)[:4].tolist() == [0, 0, 0, 3]


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PHOTOS[0].read_bytes()[:2000])
    with pytest.raises(ImageError, match=r"a\.png must be "):
        look_at(tmp_path / "a.png")
