"""Foreign paths: the file that each means, and that none leads out of the folder."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.convert.image_folder import FileTree, ImageFolder, ImageSearch
from dcap.core.errors import RecordError
from support.convert_cases import counts, image, instances, read

FILES = ("images/train/a.JPG", "images/train/b.png", "images/val/a2.png", "images/Caf\u00e9/\u00fc 1.jpeg", "top.webp")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(root: Path, *names: str, follow_links: bool = False) -> tuple[str, str]:
    """Return the path below the folder, and what led to it."""
    result = ImageFolder(root, follow_links).find(names)
    return str(result.path.relative_to(os.path.realpath(root))), result.by


@pytest.mark.parametrize("name", FILES)
def test_a_path_that_leads_into_the_folder_is_that_file(folder: Path, name: str) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    spellings = [
        name, f"./{name}", name.replace("/", "\\"), f"x/../{name}", f"../data/{name}", f"..\\data\\{name}",
        str(folder / name), str(link / name), f"{folder}/../data//{name}",
    ]  # fmt: skip
    for spelling in spellings:
        assert found(folder, spelling) == (name, "path"), spelling
        assert found(link, spelling) == (name, "path"), spelling


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("data/images/train/b.png", "images/train/b.png"),  # as CVAT's lists
        ("/home/bob/set/images/train/b.png", "images/train/b.png"),
        ("C:\\Users\\bob\\images\\train\\b.png", "images/train/b.png"),
        ("\\\\server\\share\\images\\train\\b.png", "images/train/b.png"),
        ("b.png", "images/train/b.png"),
        ("train/B.PNG", "images/train/b.png"),
        ("images/train/a.jpg", "images/train/a.JPG"),
        ("images/train/a", "images/train/a.JPG"),
        ("top", "top.webp"),
        ("IMAGES/VAL/A2.png", "images/val/a2.png"),
        ("images/Cafe\u0301/u\u0308 1.jpeg", "images/Caf\u00e9/\u00fc 1.jpeg"),
        ("../../elsewhere/top.webp", "top.webp"),
    ],
)
def test_a_path_from_elsewhere_is_found_by_its_name(folder: Path, name: str, file: str) -> None:
    assert found(folder, name) == (file, "name")


def test_folders_that_contradict_are_told(folder: Path) -> None:
    assert found(folder, "/pictures/b.png") == ("images/train/b.png", "file name")
    assert found(folder, "images/test/b.png") == ("images/train/b.png", "file name")


def test_of_several_files_of_a_name_the_folders_decide(folder: Path) -> None:
    (folder / "images/val/b.png").touch()
    (folder / "images/val/B.PNG").touch()
    assert found(folder, "/old/images/train/b.png") == ("images/train/b.png", "name")
    assert found(folder, "/old/train/b.png") == ("images/train/b.png", "file name")
    assert found(folder, "val/b.png") == ("images/val/b.png", "name")
    assert found(folder, "/old/val/B.PNG") == ("images/val/B.PNG", "file name")
    for name in ("b.png", "/old/b.png", "old/val/b.PNG"):
        with pytest.raises(RecordError, match=r"must be one file below .*data, not \d of this name: images/.*--images"):
            found(folder, name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("c.png", r"image c\.png must be a file in .*data\. Give its folder with --images"),
        ("images/train/b.jpg", r"must be a file in .*data\. There is images/train/b\.png"),
        ("../c.png", r"must lie inside .*data, not at '\.\./c\.png', and no file there has its name"),
        ("/etc/passwd", "must lie inside"),
        ("C:\\c.png", "must lie inside"),
        ("..", "must lie inside"),
        ("a\0.png", "must have a name that can be opened"),
        ("\ud800.png", "must have a name that can be opened"),
        ("a" * 301, r"must have a name that can be opened, not 'a+\.\.\.'$"),
        ("a/" * 3000 + "c.png", "must be a file in"),
        ("", "must be a file in"),
    ],
)
def test_a_path_without_a_file(folder: Path, name: str, said: str) -> None:
    (folder.parent / "c.png").touch()
    with pytest.raises(RecordError, match=said):
        found(folder, name)


def test_links_lead_out_only_when_they_may(folder: Path) -> None:
    outside = folder.parent / "cache"
    (outside / "deep").mkdir(parents=True)
    (outside / "blob").touch()
    (outside / "deep" / "z.png").touch()
    (folder / "hub.png").symlink_to("../cache/blob")
    (folder / "dvc").symlink_to(outside / "deep")
    (folder / "dvc" / "loop").symlink_to(outside / "deep")
    (folder / "again").symlink_to(folder / "images")
    for name in ("hub.png", "dvc/z.png", "HUB.PNG"):
        with pytest.raises(RecordError, match=r"is a link to .*cache/.*Give --follow-links to use it"):
            found(folder, name)
    with pytest.raises(RecordError, match=r"whose dvc is a link that leads out\. Give --follow-links"):
        found(folder, "old/z.png")
    assert found(folder, "hub.png", follow_links=True) == ("hub.png", "path")
    assert found(folder, "old/dvc/z.png", follow_links=True) == ("dvc/z.png", "name")
    assert found(folder, "again/train/b.png") == ("again/train/b.png", "path")
    tree = FileTree(folder, (".png",))
    assert tree.files == ["hub.png", "images/train/b.png", "images/val/a2.png"]
    assert tree.links_out == ["dvc"]
    assert FileTree(folder, (".png",), True).files[0] == "dvc/z.png"


def test_files_of_macos_and_links_to_nowhere_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "._a.png").touch()
    (tmp_path / "lost.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    assert FileTree(tmp_path, (".png",)).files == []


def test_one_file_for_two_paths(folder: Path) -> None:
    images = ImageFolder(folder)
    images.find(["train/b.png"])
    images.find(["train/b.png"])
    with pytest.raises(RecordError, match=r"'test/b\.png' must be another file than 'train/b\.png', and .*b\.png is"):
        images.find(["test/b.png"])
    with pytest.raises(RecordError, match="must be another file"):
        images.find(["images/train/b.png"])
    images = ImageFolder(folder)
    assert images.find(["images/train/b.png"]).path == images.find(["./images/train/b.png"]).path
    assert images.unused() == [name for name in sorted(FILES, key=lambda name: name.split("/")) if name != FILES[1]]


names = st.text(st.sampled_from("ab.\u00e9\u00df\u0130 \\"), min_size=1, max_size=4).filter(lambda s: s.strip("."))
paths = st.lists(names, min_size=1, max_size=3)


@given(paths, st.lists(names, max_size=2), st.sampled_from(["NFC", "NFD"]))
def test_every_spelling_of_a_path_finds_its_file(parts: list[str], above: list[str], form: str) -> None:
    with TemporaryDirectory() as place:
        root = Path(place) / "root"
        name = "/".join(parts) + ".png"
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()
        assert found(root, name) == found(root, str(root / name)) == (name, "path")
        if "\\" in name:
            return
        respelled = unicodedata.normalize(form, name)  # type: ignore[arg-type]
        for spelling in (respelled, "/".join(["", *above, respelled]), "/".join(["..", "..", "..", "..", respelled])):
            assert found(root, spelling)[0] == name
        windows = str(
            PureWindowsPath("D:\\", *(part for part in above if "\\" not in part), *parts[:-1], parts[-1] + ".png")
        )
        assert found(root, windows) == (name, "name")


@given(st.lists(st.sampled_from(["..", ".", "", "a", "out", "in", "b.png", "c.png", "C:", "\\"]), max_size=6))
def test_nothing_outside_is_found(parts: list[str]) -> None:
    with TemporaryDirectory() as place:
        root = Path(place) / "a" / "root"
        (root / "in").mkdir(parents=True)
        for file in (root / "in" / "b.png", root.parent / "b.png", root.parent / "c.png"):
            file.touch()
        (root / "out").symlink_to("..")
        for spelling in ("/".join(parts), "\\".join(parts), "/".join([str(root), *parts])):
            try:
                path = ImageFolder(root).find([spelling]).path
            except RecordError:
                continue
            assert path.resolve() == (root / "in" / "b.png").resolve()


def test_what_is_found_by_name_is_told(tmp_path: Path) -> None:
    image(tmp_path / "pics" / "sub" / "a.png")
    source = instances(tmp_path, file_name="D:\\x\\sub\\a.png")
    (record,), report = read("coco", source, tmp_path / "pics")
    assert record.image == "pics/sub/a.png"
    (loss, empty) = report.found
    assert (loss.action, loss.examples[0]["detail"]) == ("note", "D:\\x\\sub\\a.png is taken for sub/a.png")
    assert empty.reason == "image without objects: a record of none"
    (record,), report = read("coco", instances(tmp_path, file_name="other/a.png"), tmp_path / "pics")
    assert counts(report) == {"image found by its file name alone, in a folder that is called otherwise": 1}


def test_the_user_s_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert ImageSearch(tmp_path / "mine").within(tmp_path).root == tmp_path / "mine"
    assert ImageSearch().within(tmp_path).root == tmp_path
    with pytest.raises(RecordError, match=r"--images must be a folder, not .*none"):
        ImageSearch(tmp_path / "none").within(tmp_path)
