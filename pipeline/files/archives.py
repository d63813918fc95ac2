"""Read files inside zip and plain tar archives in place: `train.zip/cat.0.jpg` is a path like any other.

An archive's directory is read once per process; a member is then one positioned read, which threads and
forked workers share without locks. What would have to be unpacked from its beginning (a gzipped tar, 7z)
is refused.
"""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from pipeline.files import bounds
from pipeline.files.checksums import identity

NAMED = re.compile(r"\.(zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz|7z)$", re.IGNORECASE)
COMPRESSED = {b"\x1f\x8b": "gzipped", b"BZh": "compressed with bzip2", b"\xfd7zXZ": "compressed with xz"}
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
LOCAL_HEADER = 30  # bytes of a zip member's own header before its name


@dataclass(frozen=True)
class Member:
    """Say where a member's bytes lie in its archive."""

    offset: int  # of the bytes; in a zip: of the local header before them
    size: int  # of the stored bytes
    whole: int = 0  # what a zip declares of the unpacked bytes
    method: int = -1  # zip's: 0 stored, 8 deflated; −1: a tar's, stored without a local header
    crc: int = 0


def split(path: str) -> tuple[str, str] | None:
    """Return the archive and the member that a path runs through, or None; the member of the archive itself is ''.

    Costs no system call unless a part of the path is called like an archive.
    """
    if not any(ending in path.lower() for ending in (".zip", ".tar", ".tgz", ".7z")):
        return None
    parts = path.split("/")
    for count, part in enumerate(parts, 1):
        if NAMED.search(part) and os.path.isfile(archive := "/".join(parts[:count])):
            return archive, "/".join(parts[count:])
    return None


def members(archive: str) -> dict[str, Member]:
    """Return the archive's files by their paths in it; raise ValueError where it cannot be read in place."""
    return _members(archive, identity(os.stat(archive)))


def read(archive: str, member: str) -> bytes:
    """Return a member's bytes; raise ValueError where it is missing, damaged or encrypted."""
    found = members(archive).get(member)
    if found is None:
        raise ValueError(f"missing in {os.path.basename(archive)}")
    stream, offset = _open(archive, os.stat(archive).st_ino), found.offset
    if found.method >= 0:
        bounds.check(found.whole, found.size, "unpacks to", "unpack the archive")
        header = os.pread(stream, LOCAL_HEADER, offset) if offset >= 0 else b""  # zipfile counts from a damaged end
        if header[:4] != b"PK\x03\x04":
            raise ValueError("its place in the archive holds something else")
        offset += LOCAL_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    content = _pread(stream, found.size, offset)
    if found.method == zipfile.ZIP_DEFLATED:
        try:
            content = zlib.decompressobj(-15).decompress(content, found.whole + 1)
        except zlib.error as error:
            raise ValueError(f"damaged in the archive: {error}") from None
        if len(content) > found.whole:
            raise ValueError(f"damaged in the archive: it is longer than the {found.whole} bytes that it declares")
    if found.method >= 0 and zlib.crc32(content) != found.crc:
        raise ValueError("damaged in the archive: its checksum differs")
    return content


def _pread(stream: int, size: int, offset: int) -> bytes:
    """Read all of it: one call reads at most 2 GiB."""
    if offset + size > os.fstat(stream).st_size:
        raise ValueError("the archive ends before it")
    bounds.check(size, size, "takes", "unpack the archive")
    parts = []
    while size:
        part = os.pread(stream, size, offset)
        if not part:
            raise ValueError("the archive ends before it")
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)


@cache
def _open(archive: str, inode: int) -> int:
    """Open an archive for the rest of the process; one that was replaced has another inode."""
    return os.open(archive, os.O_RDONLY | os.O_CLOEXEC)


@cache
def _members(archive: str, status: tuple[int, ...]) -> dict[str, Member]:
    name = os.path.basename(archive)
    with open(archive, "rb") as stream:
        magic = stream.read(6)
    if magic == SEVEN_ZIP:
        raise ValueError(f"'{name}' is a 7z archive; unpack it with: 7z x {name}")
    for beginning, what in COMPRESSED.items():
        if magic.startswith(beginning):
            raise ValueError(f"'{name}' is {what}, which cannot be read in place; unpack it with: tar xf {name}")
    if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_members(archive)
    try:
        with tarfile.open(archive, "r:") as tar:
            found = {_plain(item.name): Member(item.offset_data, item.size) for item in tar if item.isreg()}
            if sparse := next((item.name for item in tar if item.issparse()), None):
                raise ValueError(f"'{name}' holds files with holes (first '{sparse}'); unpack it with: tar xf {name}")
            return found
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"'{name}' is no readable zip or tar archive: {error}") from None


def _zip_members(archive: str) -> dict[str, Member]:
    found, refused = {}, []
    try:
        with zipfile.ZipFile(archive) as file:
            for item in file.infolist():
                if item.is_dir():
                    continue
                if item.flag_bits & 1 or item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    refused.append(item.filename)
                found[_plain(item.filename)] = Member(
                    item.header_offset, item.compress_size, item.file_size, item.compress_type, item.CRC
                )
            ends = sorted((item.header_offset, item.compress_size, item.filename) for item in file.infolist())
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ValueError(f"'{os.path.basename(archive)}' is no readable zip archive: {error}") from None
    for (offset, size, member), (following, _, _) in pairwise(ends):
        if offset + LOCAL_HEADER + size > following:
            raise ValueError(
                f"'{os.path.basename(archive)}' holds files that overlap (first '{member}'), as a zip bomb"
            )
    if refused:
        name = os.path.basename(archive)
        raise ValueError(f"'{name}' holds encrypted or unusually packed files (first '{refused[0]}'); unpack it")
    return found


def _plain(name: str) -> str:
    return name.removeprefix("./")
