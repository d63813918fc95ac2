"""Read JSON tables: lists of records, and COCO's images + annotations + categories joined by their ids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import Problem, Refused
from pipeline.methods.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

Records = list[dict[str, Any]]
LONGEST_LIST = 100  # of labels; longer ones are measurements or pixels
LINE, RECORD, IMAGE = ("line", 1), ("record", 1), ("image", 1)
_NUMBER = "\x00image number"  # a column while tables are joined; no JSON key is called so


def read_json(
    content: bytes, lines: bool = False, separator: str | None = None
) -> tuple[pd.DataFrame, tuple[str, int], Array | None]:
    """Return the table, how its rows are called with the number of the first, and their numbers, [N].

    A list is one of records; {"images": …} is COCO's; another object with one list of records is that list,
    and one of plain values has the columns key and value. Raises Refused where it is none of these.
    """
    try:
        text = content.decode("utf-8-sig")
        tree = [_parse(line) for line in text.splitlines() if line.strip()] if lines else _parse(text)
    except RecursionError:
        raise Refused(Problem("", "not readable as JSON: nested too deep")) from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise Refused(Problem("", f"not readable as JSON: {error}")) from None
    if isinstance(tree, dict) and _is_records(tree.get("images")):
        table, rows_N = _coco(tree, separator)
        return table, IMAGE, rows_N
    if isinstance(tree, dict):
        tree = _only_list(tree)
    if not _is_records(tree):
        raise unreadable("expected a list of records, or an object with the lists images and annotations")
    return frame(tree, separator), LINE if lines else RECORD, None


def frame(records: Records, separator: str | None = None) -> pd.DataFrame:
    """Make a table of text of records: null and absent are '', objects and long lists leave their column out.

    A short list of plain values is its parts, joined by the separator, or by one that none of them holds.
    """
    import pandas as pd

    columns: dict[str, list[Any]] = {}
    for n, record in enumerate(records):
        for name, value in record.items():
            cells = columns.setdefault(name, [])
            if len(cells) < n:
                cells += [""] * (n - len(cells))
            cells.append(value)
    found = {}
    for name, cells in columns.items():
        cells += [""] * (len(records) - len(cells))
        kinds = set(map(type, cells))
        if list in kinds and all(map(_is_short, cells)):
            cells, kinds = _joined(name, cells, separator), {str}
        if not kinds & {list, dict}:
            found[name] = [_text(value) for value in cells]
    return pd.DataFrame(found, dtype=str, index=range(len(records)))


def unreadable(why: str) -> Refused:
    """Say why a file of JSON is no table."""
    return Refused(Problem("", f"not readable: {why}"))


def _parse(text: str) -> Any:
    """Parse JSON; numbers stay as they are written."""
    return json.loads(text, parse_int=str, parse_float=str)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _is_short(cell: Any) -> bool:
    """Tell whether a cell can be labels: nothing, or a list of a few plain values."""
    if not isinstance(cell, list):
        return cell is None or cell == ""
    return len(cell) <= LONGEST_LIST and not any(isinstance(value, list | dict) for value in cell)


def _joined(name: str, cells: list[Any], separator: str | None) -> list[str]:
    lists = [[_text(value) for value in cell or ()] for cell in cells]
    held = {text for texts in lists for text in texts}
    if separator is None:
        separator = next((one for one in (" ", "|", ";") if not any(one in text for text in held)), "\t")
    if wrong := sorted(text for text in held if separator in text):
        found = f"{name} holds lists, in which '{wrong[0]}' holds the separator {separator!r}"
        raise Refused(Problem("", found, remedy='choose another data.separator, such as "|"'))
    return [separator.join(texts) for texts in lists]


def _is_records(tree: Any) -> bool:
    return isinstance(tree, list) and bool(tree) and all(isinstance(record, dict) for record in tree)


def _only_list(tree: dict[str, Any]) -> Any:
    lists = [value for value in tree.values() if _is_records(value)]
    if len(lists) == 1:
        return lists[0]
    if tree and not any(isinstance(value, list | dict) for value in tree.values()):
        return [{"key": key, "value": value} for key, value in tree.items()]
    return None


def _coco(tree: dict[str, Any], separator: str | None) -> tuple[pd.DataFrame, Array]:
    """Return one row per annotation, or per image without one, in the images' order, and the images' numbers."""
    images = frame(tree["images"], separator)
    key = next((name for name in ("id", "image_id") if name in images), None)
    if key is None:
        raise unreadable("its images have neither the key id nor image_id")
    images[_NUMBER] = np.arange(len(images))
    table = images
    if _is_records(tree.get("annotations")):
        annotations = frame(tree["annotations"], separator)
        if "image_id" not in annotations:
            raise unreadable("its annotations have no image_id")
        taken = {*images.columns, "id"} - {"image_id"}
        annotations = annotations.rename(columns={name: f"annotation_{name}" for name in annotations if name in taken})
        if key != "image_id":
            annotations = annotations.rename(columns={"image_id": key})
        table = images.merge(annotations, on=key, how="left", sort=False).fillna("")
    for name, records in tree.items():
        if name not in ("images", "annotations") and _is_records(records):
            table = _described(table, name, records)
    rows_N = table.pop(_NUMBER).to_numpy(np.int64)
    return table, rows_N


def _described(table: pd.DataFrame, name: str, records: Records) -> pd.DataFrame:
    """Add the columns of categories, genera, … to the rows that name them; a list that no row names is ignored."""
    what = {"categories": "category"}.get(name, name.removesuffix("s"))
    on = next((key for key in [f"{what}_id", *records[0]] if key.endswith("_id") and key in table), None)
    if on is None or not (key := {on, "id"} & set(records[0])):
        return table
    described = frame(records).set_index(on if on in key else "id")
    if described.index.has_duplicates:
        return table
    what = on.removesuffix("_id")
    described.columns = [c if c.startswith(what) else f"{what}_{c}" for c in map(str, described.columns)]
    added = described[[c for c in described if c not in table]]
    return table.join(added, on=on).fillna(dict.fromkeys(added.columns, ""))
