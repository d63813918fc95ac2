"""Loops of links and what is no file, among images and for the cache's folder: one line, by kind, and no waiting."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.competition.tables.file_names import walk
from pipeline.images.decoding import decode, read_bytes

Refuse = Callable[..., str]


@pytest.fixture
def refuse(competition: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Check the tiny competition, expect this exit code without a traceback, and return what is said."""
    monkeypatch.chdir(competition.parent)

    def run(code: int, *options: str, images: bool = False) -> str:
        settings = [part for option in options for part in ("--set", option)]
        command = ["check", "-c", str(competition / "config.yaml"), *settings, *([] if images else ["--no-images"])]
        assert main(command) == code
        said = capsys.readouterr().err
        assert "Traceback" not in said and "internal error" not in said
        return said

    return run


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound(path: Path) -> None:
    os.chdir(path.parent)  # a socket's name has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)


INSTEAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link to itself": (lambda path: path.symlink_to(path.name), "is a loop of links"),
    "a link to nothing": (lambda path: path.symlink_to("none.png"), "is a link to nothing"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "is a link to what is no file"),
    "a named pipe": (pipe, "is no file"),
    "a socket": (bound, "is no file"),
    "a folder": (lambda path: path.mkdir(), "is no file"),
}


@pytest.mark.parametrize("kind", INSTEAD)
def test_what_is_no_image_file_is_a_defect_of_its_row(competition: Path, refuse: Refuse, kind: str) -> None:
    make, words = INSTEAD[kind]
    path = competition / "images/0007.png"
    path.unlink()
    make(path)
    for options in ((), ("data.follow_links=true",)):
        said = refuse(2, *options)
        assert said.count("\n") == 1 and "line 9: images/0007.png: " in said
        assert words in said or "leaves data.root" in said


def test_no_reader_waits_for_a_pipe_or_reads_a_device(tmp_path: Path) -> None:
    """New images come by folders, too, which are not looked at one by one before."""
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("b.png")
    for path, words in ((tmp_path / "a.png", "is a named pipe"), ("/dev/zero", "is a device"), (tmp_path, "a folder")):
        with pytest.raises(ValueError, match=words):
            read_bytes(path)
    with pytest.raises(ValueError, match="cannot be read: Too many levels of symbolic links"):
        decode(tmp_path / "b.png", (8, 8))


def test_loops_of_folders(competition: Path, refuse: Refuse) -> None:
    folder = competition.parent
    (folder / "self").symlink_to("self")
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    for name in ("self", "a", "self/x"):
        assert f"{name}: data.root is no folder" in refuse(2, f"data.root={name}")
        said = refuse(5, f"data.cache.dir={name}", images=True)
        assert "cannot be written: Too many levels of symbolic links; free space, set data.cache.dir" in said
    (competition / "images" / "self").symlink_to("self")
    assert "images/self" in refuse(2, "data.image=images/self/{image_id}.png")


def test_links_that_lead_round_are_passed_over(competition: Path, refuse: Refuse) -> None:
    """Two of them in one folder would be 2^40 paths."""
    plain = sorted(walk(str(competition)))
    for name in ("one", "two"):
        (competition / "images" / name).symlink_to(".")
        (competition / "images" / f"{name}_up").symlink_to("..")
    assert sorted(walk(str(competition))) == plain
    for name in ("one", "two"):
        (competition / "images" / f"{name}_up").unlink()
    shutil.copytree(competition / "images", competition / "other", symlinks=True)
    (competition / "linked").symlink_to("other")  # no loop: followed
    assert len(list(walk(str(competition / "linked")))) == 60
    refuse(2, "data.train=images")
