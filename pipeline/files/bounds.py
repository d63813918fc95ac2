"""Bound what is unpacked or decoded into memory, before it is: by what it declares, and by what really comes.

What ends up within `FREE` bytes is always allowed. Beyond that, data that grows more than `RATIO` times is refused:
photographs, scans and tables of some GB grow less, and a bomb that unpacks to gigabytes grows a thousand times.
Nothing may take more than half of the memory that is free.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import IO

FREE = 512 << 20  # bytes
RATIO = 100
GB = 1e9


class TooLarge(ValueError):
    """Say what would be too large, and what to do."""


def check(size: int, packed: int, what: str, remedy: str, copies: int = 1) -> None:
    """Raise TooLarge where `size` bytes out of `packed` are more than is sensible, or `copies` of them than fit.

    `what` says how they come about, such as `unpacks to`.
    """
    if size <= FREE:
        return
    grown = f"{what} {size / GB:.1f} GB"
    if size > RATIO * packed:
        found = f"{grown} from {packed / GB:.4f} GB, as a zip bomb does"
        raise TooLarge(f"{found}, expected at most {FREE / GB:.1f} GB or {RATIO} times its size; {remedy}")
    if copies * size > (allowed := available() // 2):
        of = "" if copies == 1 else f", of which {copies} copies are needed"
        raise TooLarge(f"{grown}{of}, expected at most half of the free memory, {allowed / GB:.1f} GB; {remedy}")


def unpacked(stream: IO[bytes], packed: int, remedy: str) -> bytes:
    """Read a packed file to its end, which it does not declare; raise TooLarge where that is too far."""
    most = max(FREE, min(RATIO * packed, available() // 2))
    content = stream.read(most + 1)
    if len(content) > most:
        check(len(content), packed, "unpacks to more than", remedy)
        raise TooLarge(f"unpacks to more than {most / GB:.1f} GB, half of the free memory; {remedy}")
    return content


def available() -> int:
    """Return the bytes of memory that are free, by the machine and by the control group that this process is in."""
    found = [1 << 62]
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            group = Path("/sys/fs/cgroup")
            found.append(int((group / limit).read_text()) - int((group / used).read_text()) + _cached(group / limit))
    return max(0, min(found))


def _cached(limit: Path) -> int:
    """Return what a control group holds of files that can be read again."""
    lines = (limit.parent / "memory.stat").read_text().splitlines()
    return next(
        (int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "total_inactive_file "))), 0
    )
