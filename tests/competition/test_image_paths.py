"""A name that leads nowhere may still mean one file and no other; it is found and said, or told with its remedy."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from pipeline.competition.image_paths import Found, ImagePaths


def resolve(root: Path, template: str, ids: list[str], follow_links: bool = False, column: str = "id") -> Found:
    return ImagePaths(root, follow_links).resolve(pd.DataFrame({column: ids}, dtype=str), [template])


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(found: Found, root: Path) -> list[str]:
    assert not found.absent and not found.refused
    return [os.path.relpath(path, root) for (path,) in found.images]


def told(found: Found) -> list[str]:
    return [str(problem) for _, problem in found.wrong(skip=False)]


@pytest.mark.parametrize("template", ["train/{id}.jpg", "train/{id}"])
def test_endings_are_found_without_case_and_without_being_told(tmp_path: Path, template: str) -> None:
    files(
        tmp_path,
        "train/a.jpg",
        "train/b.png",
        "train/c.JPG",
        "train/d.jpeg",
        "train/e.jfif",
        "train/f",
        "train/1.2.3.tif",
    )
    found = resolve(tmp_path, template, ["a", "b", "c", "d", "e", "f", "1.2.3"])
    endings = ["a.jpg", "b.png", "c.JPG", "d.jpeg", "e.jfif", "f", "1.2.3.tif"]
    assert names(found, tmp_path) == [f"train/{name}" for name in endings]
    assert found.notes == (
        ("6 images are found with another ending, first 'train/b.jpg' as 'train/b.png'",) if "." in template else ()
    )


def test_an_id_may_carry_an_ending_that_is_not_the_files(tmp_path: Path) -> None:
    files(tmp_path, "train/a.png", "train/b.JPG")
    for template in ("train/{id}", "train/{id}.jpg", "train/{id}.png"):
        assert names(resolve(tmp_path, template, ["a.jpg", "b.jpg"]), tmp_path) == ["train/a.png", "train/b.JPG"]


def test_masks_that_lie_beside_images_are_never_taken_for_them(tmp_path: Path) -> None:
    files(tmp_path, "train/a.jpg", "train/a.png", "train/b.png", "train/c.JPG", "train/c.png")
    found = resolve(tmp_path, "train/{id}.jpg", ["a", "b", "c"])
    assert told(found) == ["train/b.jpg: missing; there is 'b.png', correct the ending in the template"]
    assert [row for row, _ in found.absent] == [1] and found.images[2] == (f"{tmp_path}/train/c.JPG",)
    (line,) = told(resolve(tmp_path, "train/{id}", ["a"]))
    assert line == "train/a: missing, but a.jpg, a.png are there; name the ending of the images in the template"


def test_other_ways_to_write_a_path(tmp_path: Path) -> None:
    accent = "café"
    files(tmp_path, "train/im0.jpg", "train/7.jpg", f"train/{unicodedata.normalize('NFD', accent)}.jpg")
    for cell, actual, way in (
        ("train\\im0.jpg", "train/im0.jpg", "with slashes for backslashes"),
        (f"{tmp_path}/train/im0.jpg", "train/im0.jpg", f"leaving out '{str(tmp_path)[1:]}/'"),
        ("/kaggle/input/x/train/im0.jpg", "train/im0.jpg", "leaving out 'kaggle/input/x/'"),
        ("D:\\data\\train\\im0.jpg", "train/im0.jpg", "leaving out 'D:/data/'"),
        ("./train/im0.jpg", "train/im0.jpg", ""),
        ("input/train/im0.jpg", "train/im0.jpg", "leaving out 'input/'"),
        ("train/7.0.jpg", "train/7.jpg", "as whole numbers"),
        (f"train/{accent}.jpg", f"train/{unicodedata.normalize('NFD', accent)}.jpg", "in another Unicode form"),
    ):
        found = resolve(tmp_path, "{id}", [cell])
        assert names(found, tmp_path) == [actual], cell
        assert way in "".join(found.notes)


def test_what_leaves_the_root_stays_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    files(tmp_path, "outside/a.jpg")
    files(root, "b.jpg")
    for cell in ("../outside/a.jpg", "/etc/../outside/a.jpg", f"{tmp_path}/outside/a.jpg", "x/../../outside/a.jpg"):
        (line,) = told(resolve(root, "{id}", [cell]))
        assert "leaves data.root" in line or "is absolute, expected a path below data.root" in line


def test_links_are_followed_where_the_config_says_so(tmp_path: Path) -> None:
    root = tmp_path / "root"
    files(tmp_path, "outside/a.jpg")
    root.mkdir()
    (root / "train").symlink_to(tmp_path / "outside")
    (root / "a.jpg").symlink_to(tmp_path / "outside/a.jpg")
    for template in ("train/{id}.jpg", "{id}.jpg"):
        (line,) = told(resolve(root, template, ["a"]))
        assert "leaves data.root" in line and "data.follow_links: true" in line
        assert names(resolve(root, template, ["a"], follow_links=True), root) == [template.format(id="a")]


def test_a_star_means_any_folder_that_holds_the_file(tmp_path: Path) -> None:
    files(tmp_path, "part_1/a.jpg", "part_2/b.jpg", "part_2/c.png", "other/d.jpg", "part_1/e.jpg", "part_2/e.jpg")
    files(tmp_path, "images_001/images/a.png", "images_002/images/b.png")
    with zipfile.ZipFile(tmp_path / "part_3.zip", "w") as archive:
        archive.writestr("z.jpg", b"x")
    found = resolve(tmp_path, "part_*/{id}.jpg", ["a", "b", "c", "z"])
    assert names(found, tmp_path) == ["part_1/a.jpg", "part_2/b.jpg", "part_2/c.png", "part_3.zip/z.jpg"]
    assert names(resolve(tmp_path, "images_*/images/{id}.png", ["b"]), tmp_path) == ["images_002/images/b.png"]
    assert told(resolve(tmp_path, "part_*/{id}.jpg", ["d", "e"])) == [
        "part_*/d.jpg: missing in part_1, part_2, part_3.zip",
        "part_*/e.jpg: lies in several folders: part_1, part_2, expected one",
    ]
    assert "there is no folder 'prt_*'" in told(resolve(tmp_path, "prt_*/{id}.jpg", ["a"]))[0]


def test_a_number_with_other_zeros_is_told_with_what_mends_it(tmp_path: Path) -> None:
    files(tmp_path, "train/00007.jpg", "train/12.jpg")
    assert told(resolve(tmp_path, "train/{id}.jpg", ["7", "0012"])) == [
        "train/7.jpg: missing; there is '00007.jpg'; write {column:05}",
        "train/0012.jpg: missing; there is '12.jpg'; the table has zeros before it",
    ]
