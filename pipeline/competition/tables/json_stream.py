"""Read the records of a JSON list one by one: a file may be larger than memory, a record is not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.competition.tables.json_records import unreadable
from pipeline.errors import Problem, Refused

CHUNK = 1 << 24  # characters read at once
GAP = re.compile(r"[\s,]*")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSON list one by one."""
    decoder, at = json.JSONDecoder(), 1
    with path.open(encoding="utf-8-sig") as stream:
        text = stream.read(CHUNK).lstrip()
        if not text.startswith("["):
            raise unreadable("expected a list of records, which images in records are read from")
        while True:
            at = GAP.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too
            if text.startswith("]", at):
                return
            try:
                record, at = decoder.raw_decode(text, at)
            except RecursionError:
                raise Refused(Problem("", "not readable as JSON: nested too deep")) from None
            except json.JSONDecodeError as error:
                more = stream.read(CHUNK)
                if not more:
                    raise Refused(Problem("", f"not readable as JSON: {error.msg}")) from None
                text, at = text[at:] + more, 0
                continue
            if not isinstance(record, dict):
                raise unreadable("expected a list of records, found one that is none")
            yield record
