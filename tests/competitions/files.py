"""Write what competitions hand out: tables, pictures, archives, DICOM files."""

from __future__ import annotations

import csv
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.methods.arrays import Array

SECONDARY_CAPTURE, EXPLICIT, JPEG_BASELINE = (
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.4.50",
)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table; a number stands as Python prints it, None is an empty cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_json(path: Path, tree: Any) -> None:
    """Write a tree with its letters as they are, in UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")


def save(path: Path, image: Array) -> None:
    """Write a picture in the format that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **({"quality": 90} if path.suffix == ".jpg" else {}))


def truncate(path: Path) -> None:
    """Cut a file in two and keep the first half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def write_zip(path: Path, folder: Path, prefix: str = "") -> None:
    """Write a folder's files into a zip, below `prefix`: bare where that is empty."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, prefix + file.relative_to(folder).as_posix())


def write_tar(path: Path, folder: Path) -> None:
    """Write a folder's files into a plain tar, whatever its name ends with, without the folder itself."""
    with tarfile.open(path, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.add(file, file.relative_to(folder).as_posix())


def write_junk(path: Path, rng: np.random.Generator, start: bytes = b"") -> None:
    """Write a file that no picture library reads: what lies beside the pictures and is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(start + rng.bytes(64))


def write_dicom(path: Path, image: Array, *, inverted: bool = False, jpeg: bool = False) -> None:
    """Write a DICOM file: [H,W] uint16 as 12 bits, or [H,W,3] uint8; `jpeg`: baseline JPEG inside.

    `inverted` stores MONOCHROME1, where the smallest value is white. Source: PS3.5 and PS3.10, explicit VR.
    """
    height, width, color = (*image.shape[:2], image.ndim == 3)
    if inverted:
        image = 4095 - image
    bits = 8 if image.dtype == np.uint8 else 16
    kind = "YBR_FULL_422" if jpeg and color else "RGB" if color else "MONOCHROME1" if inverted else "MONOCHROME2"
    elements = [
        _element(0x0008, 0x0016, b"UI", SECONDARY_CAPTURE.encode()),
        _element(0x0008, 0x0018, b"UI", b"1.2.3.4"),
        _element(0x0028, 0x0002, b"US", struct.pack("<H", 3 if color else 1)),
        _element(0x0028, 0x0004, b"CS", kind.encode()),
        *([_element(0x0028, 0x0006, b"US", struct.pack("<H", 0))] if color else []),
        _element(0x0028, 0x0010, b"US", struct.pack("<H", height)),
        _element(0x0028, 0x0011, b"US", struct.pack("<H", width)),
        _element(0x0028, 0x0100, b"US", struct.pack("<H", bits)),
        _element(0x0028, 0x0101, b"US", struct.pack("<H", 8 if bits == 8 else 12)),
        _element(0x0028, 0x0102, b"US", struct.pack("<H", 7 if bits == 8 else 11)),
        _element(0x0028, 0x0103, b"US", struct.pack("<H", 0)),
        _element(0x0028, 0x1050, b"DS", b"2048"),
        _element(0x0028, 0x1051, b"DS", b"4096"),
        _pixels(image, jpeg),
    ]
    if color:
        del elements[-3:-1]  # a window is for gray values
    head = _element(0x0002, 0x0002, b"UI", SECONDARY_CAPTURE.encode())
    head += _element(0x0002, 0x0003, b"UI", b"1.2.3.4")
    head += _element(0x0002, 0x0010, b"UI", (JPEG_BASELINE if jpeg else EXPLICIT).encode())
    head += _element(0x0002, 0x0012, b"UI", b"1.2.3.5")
    length = _element(0x0002, 0x0000, b"UL", struct.pack("<I", len(head)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + length + head + b"".join(elements))


def _element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    padded = value + (b"\0" if kind == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, kind, len(padded)) + padded


def _pixels(image: Array, jpeg: bool) -> bytes:
    if not jpeg:
        raw = image.astype("<u2" if image.dtype != np.uint8 else "u1").tobytes()
        kind = b"OB" if image.dtype == np.uint8 else b"OW"
        return struct.pack("<HH2sHI", 0x7FE0, 0x0010, kind, 0, len(raw) + len(raw) % 2) + raw + b"\0" * (len(raw) % 2)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=90)
    item = stream.getvalue() + b"\0" * (stream.tell() % 2)
    start = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    offsets = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    return (
        start + offsets + struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )
