from __future__ import annotations

import gzip
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.files import archives

FILES = {"a/one.bin": b"one" * 1000, "two.bin": b"", "b/c/three.bin": bytes(range(256)) * 40}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same files in a stored and a deflated zip, and in a plain tar that is called .tar.gz."""
    for name, method in {"stored.zip": zipfile.ZIP_STORED, "deflated.zip": zipfile.ZIP_DEFLATED}.items():
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            archive.mkdir("b")
            for member, content in FILES.items():
                archive.writestr(member, content)
    for member, content in FILES.items():
        path = tmp_path / "files" / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with tarfile.open(tmp_path / "plain.tar.gz", "w") as archive:
        archive.add(tmp_path / "files", ".")
    return tmp_path


@pytest.mark.parametrize("name", ["stored.zip", "deflated.zip", "plain.tar.gz"])
def test_members_are_read_in_place(folder: Path, name: str) -> None:
    path = str(folder / name)
    assert set(archives.members(path)) == set(FILES)
    assert {member: archives.read(path, member) for member in FILES} == FILES
    assert archives.split(f"{path}/a/one.bin") == (path, "a/one.bin") and archives.split(path) == (path, "")
    with pytest.raises(ValueError, match="missing in"):
        archives.read(path, "a/none.bin")


def test_a_folder_may_be_called_like_an_archive(folder: Path) -> None:
    (folder / "real.zip").mkdir()
    assert archives.split(f"{folder}/real.zip/x.png") is None and archives.split(f"{folder}/files/a/one.bin") is None


def test_damage_is_found(folder: Path) -> None:
    path = folder / "stored.zip"
    content = bytearray(path.read_bytes())
    at = content.index(b"oneone")
    content[at : at + 3] = b"TWO"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum differs"):
        archives.read(str(path), "a/one.bin")


def test_a_replaced_archive_is_read_anew(folder: Path) -> None:
    path = folder / "stored.zip"
    assert archives.read(str(path), "two.bin") == b""
    with zipfile.ZipFile(folder / "new.zip", "w") as archive:
        archive.writestr("two.bin", b"now there is something")
    os.replace(folder / "new.zip", path)
    assert archives.read(str(path), "two.bin") == b"now there is something"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"x" * 600, mtime=0), "is gzipped, which cannot be read in place; unpack it with: tar xf"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "is a 7z archive; unpack it with: 7z x"),
        (b"PK\x03\x04" + bytes(600), "is no readable zip archive"),
        (b"<html>" + b"x" * 600, "is no readable zip or tar archive"),
    ],
)
def test_what_cannot_be_read_in_place_names_its_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train.tar.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r".") as caught:
        archives.members(str(path))
    assert message in str(caught.value)


def test_a_member_before_the_archives_begin_is_refused(tmp_path: Path) -> None:
    """An end record that says too much makes zipfile count places from before the file."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.png", b"x" * 100)
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 16 : end + 20] = (int.from_bytes(content[end + 16 : end + 20], "little") + 50).to_bytes(4, "little")
    path.write_bytes(content)
    assert next(iter(archives.members(str(path)).values())).offset < 0
    with pytest.raises(ValueError, match="holds something else"):
        archives.read(str(path), "a.png")
