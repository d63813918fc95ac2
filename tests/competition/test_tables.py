from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.competition.tables import digest, read, read_table
from pipeline.competition.tables.file_names import Missing
from pipeline.competition.tables.json_records import frame
from pipeline.errors import Problem, Refused

COCO = {
    "info": {"year": 2020},
    "images": [
        {"id": 7, "file_name": "a/7.jpg", "license": 1, "boxes": [1, 2]},
        {"id": 3, "file_name": "a/3.jpg", "license": 1, "boxes": []},
        {"id": 5, "file_name": "a/5.jpg", "license": 1, "boxes": []},
    ],
    "annotations": [
        {"id": 2, "image_id": 5, "category_id": 40, "region_id": 1, "file_name": "x"},
        {"id": 1, "image_id": 7, "category_id": 10, "region_id": 2, "file_name": "x"},
        {"id": 3, "image_id": 5, "category_id": 10, "region_id": 2, "file_name": "x"},
    ],
    "categories": [{"id": 10, "name": "Alnus×pratensis"}, {"id": 40, "name": "b", "supercategory": "s"}],
    "regions": [{"id": 1, "name": "North"}, {"id": 2, "name": "South"}],
    "distances": [{"genus_id_x": 1, "distance": 0.5}],
}


def write(path: Path, tree: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
    return path


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_coco_gives_a_row_per_annotation_in_the_images_order(tmp_path: Path) -> None:
    write(tmp_path / "t.json", COCO)
    rows = read(tmp_path, "t.json")
    assert rows.table.columns.tolist() == [
        *("id", "file_name", "license", "boxes", "annotation_id", "category_id", "region_id"),
        *("annotation_file_name", "category_name", "category_supercategory", "region_name"),
    ]
    assert rows.table["id"].tolist() == ["7", "3", "5", "5"]
    assert rows.table["category_id"].tolist() == ["10", "", "40", "10"]
    assert rows.table["category_name"].tolist() == ["Alnus×pratensis", "", "b", "Alnus×pratensis"]
    assert rows.table["region_name"].tolist() == ["South", "", "North", "South"]
    assert [rows.place(n).rpartition(": ")[2] for n in range(4)] == ["image 1", "image 2", "image 3", "image 3"]


def test_images_may_be_keyed_by_image_id_and_categories_by_theirs(tmp_path: Path) -> None:
    tree = {
        "images": [{"image_id": "00__1", "file_name": "f"}],
        "annotations": [{"image_id": "00__1", "category_id": 3, "genus_id": 9}],
        "categories": [{"category_id": 3, "scientificName": "Abies alba", "genus": "Abies"}],
        "genera": [{"genus_id": 9, "genus": "Abies"}],
    }
    write(tmp_path / "t.json", tree)
    (row,) = read_table(tmp_path, "t.json").to_dict("records")
    assert row == {
        **{"image_id": "00__1", "file_name": "f", "category_id": "3", "genus_id": "9"},
        **{"category_scientificName": "Abies alba", "category_genus": "Abies", "genus": "Abies"},
    }


def test_lists_of_records_keep_numbers_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"id": "007", "x": 1.50, "b": true, "l": [1]}, {"id": 8, "y": null, "x": 1e-3}]')
    assert read_table(tmp_path, "t.json").to_dict("records") == [
        {"id": "007", "x": "1.50", "b": "true", "l": "1", "y": ""},
        {"id": "8", "x": "1e-3", "b": "", "l": "", "y": ""},
    ]
    (tmp_path / "t.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    rows = read(tmp_path, "t.jsonl")
    assert rows.table["id"].tolist() == ["1", "2"] and rows.place(1).endswith("line 2")
    write(tmp_path / "names.json", {"0": "Cassava", "1": "Healthy"})
    assert read_table(tmp_path, "names.json")["value"].tolist() == ["Cassava", "Healthy"]
    write(tmp_path / "test.json", {"info": {}, "images": [{"id": 4}]})
    assert read_table(tmp_path, "test.json")["id"].tolist() == ["4"]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.text(max_size=3) | st.none(), max_size=3), max_size=6))
def test_a_frame_has_every_record_and_blanks_for_what_is_absent(records: list[dict[str, Any]]) -> None:
    found = frame(records)
    assert len(found) == len(records)
    for n, record in enumerate(records):
        assert all(found[name].iloc[n] == (record.get(name) or "").strip() for name in found)


def test_a_folder_of_classes(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/Loose Silky-bent/a.png",
        "train/Maize/b.PNG",
        "train/Maize/.hidden.png",
        "train/Maize/notes.txt",
    )
    rows = read(tmp_path, "train")
    assert rows.table.to_dict("list") == {
        "path": ["train/Loose Silky-bent/a.png", "train/Maize/b.PNG"],
        "file": ["a.png", "b.PNG"],
        "label": ["Loose Silky-bent", "Maize"],
    }
    assert rows.problems([(1, Problem("", "wrong"))]) == [Problem(f"{tmp_path}/train/Maize/b.PNG", "wrong")]
    touch(tmp_path, "test/1.png", "test/2.png")
    assert read_table(tmp_path, "test")["label"].tolist() == ["", ""]


def test_names_of_files_are_columns(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat.0.jpg", "train/dog.10.jpg", "train/deeper/cat.1.jpg", "train/readme.txt")
    table = read_table(tmp_path, "train/{kind}.{n}.jpg")
    assert table["kind"].tolist() == ["cat", "dog"] and table["n"].tolist() == ["0", "10"]
    table = read_table(tmp_path, r"re:train/(?:deeper/)?(?P<id>(?P<kind>cat|dog)\.\d+)\.jpg")
    assert sorted(table["id"]) == ["cat.0", "cat.1", "dog.10"] and "path" in table
    touch(tmp_path, "by/p1/p1_L.png", "by/p1/p2_L.png")
    assert read_table(tmp_path, "by/{p}/{p}_{side}.png").to_dict("list") == {
        **{"path": ["by/p1/p1_L.png"], "file": ["p1_L.png"], "p": ["p1"], "side": ["L"]}
    }


def test_tables_and_folders_inside_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("in/cat.0.jpg", b"x")
        archive.writestr("in/dog.1.jpg", b"x")
        archive.writestr("train.csv", "id;x\n".replace(";", ",") + "007,a\n")
        archive.writestr("sub/m/1.png", b"x")
    assert read_table(tmp_path, "train.zip/train.csv")["id"].tolist() == ["007"]
    assert read_table(tmp_path, "train.zip/in/{kind}.{n}.jpg")["path"].tolist() == [
        "train.zip/in/cat.0.jpg",
        "train.zip/in/dog.1.jpg",
    ]
    assert read_table(tmp_path, "train.zip/sub")["label"].tolist() == ["m"]
    with pytest.raises(Missing, match=r"missing in train.zip; did you mean 'train.csv'"):
        read(tmp_path, "train.zip/trian.csv")
    assert read_table(tmp_path, r"re:train.zip/in/(?P<kind>\w+)\.\d\.jpg")["kind"].tolist() == ["cat", "dog"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("trian.csv", "missing; did you mean 'train.csv'?"),
        ("picture.png", "is a .png file, expected .csv"),
        ("bad.json", "not readable as JSON"),
        ("number.json", "expected a list of records"),
        ("train/{kind}.{n}.jpeg", "matches no file; there is 'train/cat.0.jpg'"),
        ("trian/{kind}.jpg", "there is no folder 'trian'; did you mean 'train'?"),
        ("re:train/(", "is no regular expression"),
        ("re:train/.*", "expected named groups"),
        ("empty.csv", "it has no rows"),
        ("text", "holds no image; there is 'text/a.txt'"),
    ],
)
def test_what_cannot_be_read_names_its_remedy(tmp_path: Path, spec: str, message: str) -> None:
    touch(tmp_path, "picture.png", "bad.json", "train/cat.0.jpg", "text/a.txt")
    (tmp_path / "train.csv").write_text("id\n1\n")
    (tmp_path / "empty.csv").write_text("id\n")
    (tmp_path / "number.json").write_text("3")
    with pytest.raises(Refused) as caught:
        read(tmp_path, spec)
    assert message in str(caught.value)


def test_a_digest_follows_what_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png")
    (tmp_path / "t.tsv").write_text("id\tx\n1\ta,b\n")
    assert read_table(tmp_path, "t.tsv")["x"].tolist() == ["a,b"]
    before = [digest(tmp_path, spec) for spec in ("train", "t.tsv", "nothing.csv")]
    assert before[2] == "missing" and before == [digest(tmp_path, spec) for spec in ("train", "t.tsv", "nothing.csv")]
    touch(tmp_path, "train/a/2.png")
    (tmp_path / "t.tsv").write_text("id\tx\n2\ta,b\n")
    after = [digest(tmp_path, spec) for spec in ("train", "t.tsv")]
    assert after[0] != before[0] and after[1] != before[1]


def test_rows_of_several_files_keep_their_lines(tmp_path: Path) -> None:
    from pipeline.competition.rows.rows import Rows

    first = Rows(tmp_path / "a.csv", pd.DataFrame({"id": ["1", "2"], "x": ["p", "q"]}))
    second = Rows(tmp_path / "b.csv", pd.DataFrame({"id": ["3", "4"]}))
    rows = Rows.below([first, second])
    assert rows.table["x"].tolist() == ["p", "q", "", ""]
    kept = rows.take(pd.Index([3, 0]).to_numpy())
    assert [kept.place(n) for n in (0, 1)] == [f"{tmp_path}/b.csv: line 3", f"{tmp_path}/a.csv: line 2"]
