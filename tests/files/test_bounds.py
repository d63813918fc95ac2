"""What unpacks or decodes to more than is sensible is refused by what it declares and by what it is, at once."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cli import main
from pipeline.files import archives, bounds, parts
from pipeline.images.decoding import decode, read_bytes

GB = 10**9


def zeros(size: int) -> bytes:
    """Return what unpacks to about `size` zeros, without a stream that a test would wait for."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (size // (16 << 20)) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def zipped(path: Path, name: str, packed: bytes, declared: int, crc: int = 0) -> Path:
    """Write a zip of one deflated member that declares a size."""
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(packed), declared, len(name), 0)
    central = struct.pack(
        *("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(packed), declared, len(name)),
        *(0, 0, 0, 0, 0, 0),
    )
    start = len(local) + len(name) + len(packed)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central) + len(name), start, 0)
    path.write_bytes(local + name.encode() + packed + central + name.encode() + end)
    return path


def refused(work: Callable[[], object], *words: str) -> None:
    begin = time.process_time()
    with pytest.raises(ValueError, match=r".") as caught:
        work()
    assert time.process_time() - begin < 5
    text = str(caught.value)
    assert all(word in text for word in words) and "\n" not in text, text


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", "a.png", zeros(3 * GB), 3 * GB)
    refused(lambda: archives.read(str(path), "a.png"), "unpacks to 3.0 GB", "as a zip bomb", "unpack the archive")


def test_a_bomb_is_refused_by_what_it_is(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", "a.png", zeros(3 * GB), 1000)
    refused(lambda: archives.read(str(path), "a.png"), "longer than the 1000 bytes that it declares")
    path = zipped(tmp_path / "y.zip", "a.png", zeros(16 << 20), 0)
    refused(lambda: archives.read(str(path), "a.png"), "longer than the 0 bytes")


def test_large_data_that_packs_as_pictures_do_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "FREE", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", bytes(range(256)) * 60)
        file.writestr("b", bytes(100_000))
    assert len(archives.read(str(tmp_path / "x.zip"), "a")) == 256 * 60
    refused(lambda: archives.read(str(tmp_path / "x.zip"), "b"), "as a zip bomb")
    monkeypatch.setattr(bounds, "available", lambda: 10_000)
    refused(lambda: archives.read(str(tmp_path / "x.zip"), "a"), "at most half of the free memory")


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    """One kernel of a bomb may be shared by thousands of names."""
    path = zipped(tmp_path / "x.zip", "a.png", zeros(16 << 20), 16 << 20)
    content = path.read_bytes()
    at = content.index(b"PK\1\2")
    entry = content[at : content.index(b"PK\5\6")]
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 9, 9, 9 * len(entry), at, 0)
    path.write_bytes(content[:at] + entry * 9 + end)
    refused(lambda: archives.members(str(path)), "overlap", "zip bomb")


def test_sizes_beyond_the_archive_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", "a.png", b"\3\0", 4)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 20 : at + 24] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)
    refused(lambda: archives.read(str(path), "a.png"), "the archive ends before it")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
        huge = tarfile.TarInfo("b.png")
        huge.size = 10**15
        tar.fileobj.write(huge.tobuf(tarfile.GNU_FORMAT))  # type: ignore[union-attr]
    refused(lambda: archives.read(str(tmp_path / "x.tar"), "b.png"), "")


def test_sparse_members_of_a_tar_are_refused(tmp_path: Path) -> None:
    sparse = tarfile.TarInfo("a.png")
    sparse.type, sparse.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"00000000000\0" + b"00000001000\0"
    block[483:495] = b"77777777777\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "x.tar").write_bytes(bytes(block) + bytes(512 * 20))
    refused(lambda: archives.members(str(tmp_path / "x.tar")), "holds files with holes", "unpack it")


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_packed_tables_are_bounded(
    competition: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ending: str,
    pack: Callable[[bytes], bytes],
) -> None:
    whole = (competition / "train.csv").read_bytes()
    (competition / "train.csv").unlink()
    command = ["check", "--no-images", "-c", str(competition / "config.yaml")]
    (competition / f"train.csv{ending}").write_bytes(pack(whole))
    assert main(command) == 0, capsys.readouterr().err
    monkeypatch.setattr(bounds, "FREE", 1 << 20)
    (competition / f"train.csv{ending}").write_bytes(pack(whole + b"0" * (4 << 20)))
    assert main(command) == 2
    line = capsys.readouterr().err
    assert "train.csv" in line and "as a zip bomb does" in line and "unpack it" in line and "Traceback" not in line
    (competition / f"train.csv{ending}").write_bytes(pack(whole)[:-9] + b"\7" * 9)
    assert main(command) == 2
    assert "not readable" in capsys.readouterr().err


def test_arrays_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((2, 1000, 1000), np.uint8))
    monkeypatch.setattr(bounds, "FREE", 1 << 20)
    for work in (lambda: parts.stack(f"{tmp_path}/x.npz"), lambda: decode(tmp_path / "x.npz", (8, 8))):
        refused(work, "unpacks to", "as a zip bomb", "store it with numpy.save")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000, 10000000), }".ljust(117) + b"\n"
    (tmp_path / "y.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(80))
    refused(lambda: decode(tmp_path / "y.npy", (8, 8)), "memory")
    refused(lambda: read_bytes(f"{tmp_path}/y.npy[3]"))


def png(width: int, height: int, bits: int = 8) -> bytes:
    """Return a PNG whose lines are all zeros."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(40_000_000), 9))
        + chunk(b"IEND", b"")
    )


def test_pictures_are_bounded(tmp_path: Path) -> None:
    absurd = tmp_path / "a.png"
    for bits in (1, 8):
        absurd.write_bytes(png(60_000, 60_000, bits))
        refused(lambda: decode(absurd, (8, 8)), "60,000×60,000 pixels, which takes 3.6 GB", "store it smaller")
    image = Image.new("L", (4, 4))
    for name in ("a.bmp", "a.gif", "a.tif"):
        image.save(tmp_path / name)
        content = bytearray((tmp_path / name).read_bytes())
        if name == "a.bmp":
            content[18:26] = struct.pack("<ii", 60_000, 60_000)
        elif name == "a.gif":
            content[6:10] = struct.pack("<HH", 60_000, 60_000)
        else:
            for tag in (256, 257):
                at = (
                    content.index(struct.pack("<HHI", tag, 4, 1))
                    if struct.pack("<HHI", tag, 4, 1) in content
                    else content.index(struct.pack("<HHI", tag, 3, 1))
                )
                content[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 60_000)
        (tmp_path / name).write_bytes(content)
        refused(lambda path=tmp_path / name: decode(path, (8, 8)))


def test_slides_of_microscopes_are_no_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are larger than the 0.18 gigapixels that Pillow allows; here with smaller numbers."""
    monkeypatch.setattr(bounds, "FREE", 10_000)
    Image.effect_noise((300, 300), 90).convert("RGB").save(tmp_path / "a.tif")
    assert decode(tmp_path / "a.tif", (8, 8)).shape == (8, 8, 3)
    monkeypatch.setattr(bounds, "available", lambda: 1_000_000)
    refused(lambda: decode(tmp_path / "a.tif", (8, 8)), "of which 3 copies are needed", "half of the free memory")


def test_pages_beyond_the_channels_are_not_read(tmp_path: Path) -> None:
    from pipeline.images.read_as import ReadAs

    pages = [Image.new("L", (64, 64), n % 255) for n in range(400)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    refused(lambda: decode(tmp_path / "a.tif", (8, 8), ReadAs(4)), "400 pages, expected 4 channels")
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:])
    assert decode(tmp_path / "a.gif", (8, 8)).shape == (8, 8, 3)


def test_the_free_memory_is_known() -> None:
    assert 1 << 20 < bounds.available() < 1 << 62


def test_a_zip_bomb_among_the_images_through_the_command_line(
    competition: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a defect of its row, and the others are read."""
    with zipfile.ZipFile(competition / "images.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted((competition / "images").iterdir()):
            file.writestr(path.name, bytes(16 << 20) if path.stem == "0007" else path.read_bytes())
    content = bytearray((competition / "images.zip").read_bytes())
    at = content.index(struct.pack("<I", 16 << 20), content.index(b"PK\1\2"))
    content[at : at + 4] = struct.pack("<I", 3 * GB)
    (competition / "images.zip").write_bytes(content)
    command = ["check", "-c", str(competition / "config.yaml"), "--set", "data.image=images.zip/{image_id}.png"]
    begin = time.monotonic()
    assert main(command) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("foldline: ")]
    assert len(said) == 1 and "0007.png: unpacks to 3.0 GB" in said[0] and "batch" not in said[0]
    assert time.monotonic() - begin < 40
