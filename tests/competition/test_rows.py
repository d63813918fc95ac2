"""Joins, derived columns, repeated ids, several images per prediction, extra tables, absent images, weights."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.competition.competition import Competition, load
from pipeline.competition.rows.new_images import find
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError
from pipeline.files import parts
from pipeline.images.decoding import read_bytes


def with_settings(root: Path, *settings: str) -> Competition:
    return load(load_config([root / "config.yaml"], settings))


def read(root: Path, **data: Any) -> Competition:
    keys = {key.replace("__", ".") if "__" in key else f"data.{key}": value for key, value in data.items()}
    return with_settings(root, *(f"{key}={json.dumps(value)}" for key, value in keys.items()))


def defects(root: Path, **data: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(root, **data)
    return "\n".join(caught.value.lines)


def append(path: Path, *lines: str) -> None:
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


def test_joined_and_derived_columns_can_be_all_that_a_column_can(competition: Path) -> None:
    (competition / "sites.csv").write_text("site,label,age\n" + "".join(f"g{n:02d},x,{n * 10}\n" for n in range(11)))
    append(competition / "test.csv")
    found = read(
        competition,
        joins=[{"table": "sites.csv", "on": "group", "key": "site", "rows": "train"}],
        derive={
            "old": {"column": "age", "edges": [30, 60], "names": ["young", "middle", "old"]},
            "row": {"column": "image_id", "pattern": r"^\d\d(\d)"},
            "short": {"column": "label", "values": {"cross": "c", "disk": "d"}},
            "unit": "{short}-{row:02}",
        },
        group="unit",
        folds__stratify="old",
    )
    row = found.table.iloc[13]  # 0013, disk, g03
    assert (row["age"], row["sites.label"], row["old"], row["unit"]) == ("30", "x", "middle", "d-01")
    assert found.table["age"].iloc[47] == "" and found.table["old"].iloc[47] == ""
    assert found.groups is not None and found.groups[13] == "d-01"
    assert found.notes[0].startswith("4 rows have no row in sites.csv (group 'g11', for one)")


def test_defects_of_joins_and_derived_columns(competition: Path) -> None:
    (competition / "sites.csv").write_text("site,age\ng00,1\ng00,2\n")
    (competition / "other.csv").write_text("site,age\nG00,x\n")
    text = defects(competition, joins=[{"table": "sites.csv", "on": "group", "key": "site", "rows": "train"}])
    assert "sites.csv: line 3: site 'g00' stands above already" in text
    text = defects(competition, joins=[{"table": "other.csv", "on": "group", "key": "site", "rows": "train"}])
    assert "other.csv: site has none of the values of group, as 'g00'" in text
    text = defects(competition, joins=[{"table": "nothing.csv", "on": "group"}])
    assert text.count("nothing.csv: data.joins: table is missing") == 1
    derive = {"a": "{grup}", "b": {"column": "label", "pattern": "^[cd]"}, "c": {"column": "group", "edges": [1]}}
    text = defects(competition, derive=derive)
    assert "data.derive.a: '{grup}' is no column; did you mean 'group'?" in text
    assert "line 4: label is 'square', in which '^[cd]' finds nothing (data.derive.b)" in text
    assert "line 2: group is 'g00', expected a number (data.derive.c)" in text
    with pytest.raises(InputError, match=r"found pattern and edges, expected one of"):
        read(competition, derive={"a": {"column": "label", "pattern": "x", "edges": [2, 1]}})


def test_rows_can_be_chosen_and_tables_follow_one_another(competition: Path) -> None:
    header, *rows = (competition / "train.csv").read_text().splitlines()
    (competition / "a.csv").write_text("\n".join([header, *rows[:20]]) + "\n")
    (competition / "b.csv").write_text("\n".join([header, *rows[20:]]) + "\n")
    found = read(competition, train=["a.csv", "b.csv"], where={"label": ["cross", "disk"]})
    assert len(found.ids) == 32 and found.classes == ("cross", "disk") and found.ids[-1] == "0046"
    append(competition / "b.csv", "0003,cross,g00", "9999,cross,g00")
    text = defects(competition, train=["a.csv", "b.csv"])
    assert f"{competition}/b.csv: line 30: id '0003' stands in {competition}/a.csv: line 5 already" in text
    assert f"{competition}/b.csv: line 31: images/9999.png: missing" in text
    assert "data.where.label: no row of" in defects(competition, where={"label": ["cros"]})


def test_repeated_ids_become_one(competition: Path) -> None:
    append(competition / "train.csv", "0000,disk,g00", "0000,disk,g00", "0001,disk,g00")
    append(competition / "test.csv", "0048")
    append(competition / "sample_submission.csv", "0048,cross")
    first = read(competition, duplicates="first")
    assert len(first.ids) == 48 and first.targets_NC[0].tolist() == [1, 0, 0] and len(first.test_ids) == 12
    soft = read(competition, duplicates="soft")
    assert np.allclose(soft.targets_NC[0], [1 / 3, 2 / 3, 0], atol=1e-5)
    assert soft.targets_NC[1].tolist() == [0, 1, 0] and len(soft.sample) == 13
    assert "2 ids of train.csv stand in 5 rows; their labels were averaged, 1 of them differ" in soft.notes
    append(competition / "train.csv", "0002,square,g09")
    text = defects(competition, duplicates="first")
    assert "line 53: group is 'g09', but 'g00' in line 4 of the same id" in text


def test_repeated_values_and_labels_of_a_cell_are_averaged(competition: Path) -> None:
    rows = [f"{n:04d},{n}.5,{'a b' if n % 2 else 'b'}" for n in range(48)]
    (competition / "train.csv").write_text("\n".join(["image_id,age,tags", *rows, "0000,2.5,a"]) + "\n")
    sample = competition / "sample_submission.csv"
    sample.write_text("image_id,y\n" + "".join(f"{n:04d},0\n" for n in range(48, 60)))
    regression = ["data.task=regression", "data.target=age", "loss.name=mse", "metric=rmse"]
    values = with_settings(competition, "data.duplicates=soft", "data.group=null", *regression)
    assert values.targets_NC[:2].tolist() == [[1.5], [1.5]] and values.classes == ("age",)
    multilabel = ["data.task=multilabel", "data.target=tags", "data.separator=' '", "loss.name=binary_cross_entropy"]
    tags = with_settings(competition, "data.duplicates=soft", "data.group=null", "metric=f1_macro", *multilabel)
    assert tags.targets_NC[:2].tolist() == [[0.5, 0.5], [1, 1]]


def test_several_images_make_one_prediction(competition: Path) -> None:
    rows = [f"{n:04d},{'disk' if n < 24 else 'cross'},g{n // 8},{'LR'[n % 2]}" for n in range(48)]
    (competition / "train.csv").write_text("\n".join(["image_id,label,group,side", *rows]) + "\n")
    rows = [f"{n:04d},p{n // 4},{'LR'[n % 2]}" for n in range(48, 60)]
    (competition / "test.csv").write_text("\n".join(["image_id,group,side", *rows]) + "\n")
    asked = [f"p{n}_{side},0.5" for n in (12, 13, 14) for side in "LR"]
    (competition / "sample_submission.csv").write_text("\n".join(["prediction_id,label", *asked]) + "\n")
    found = with_settings(competition, "data.predict_id='{group}_{side}'", "data.task=binary", "metric=roc_auc")
    assert found.ids.tolist()[:3] == ["g0_L", "g0_R", "g1_L"] and len(found.ids) == len(found.table) == 12
    assert found.rows_I[:10].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 2, 3] and len(found.images) == 48
    assert found.image_ids[9] == "0009" and found.groups is not None and found.groups[3] == "g1"
    assert found.targets_NC.shape == (12, 2) and found.targets_NC[-1].tolist() == [1, 0]
    assert found.test_ids.tolist() == ["p12_L", "p12_R", "p13_L", "p13_R", "p14_L", "p14_R"]
    assert np.bincount(found.test_rows_J).tolist() == [2] * 6 and found.test_image_ids[0] == "0048"
    new = find(load_config([competition / "config.yaml"], ["data.predict_id='{group}_{side}'"]), None)
    assert new.ids.tolist() == found.test_ids.tolist() and new.rows_J.tolist() == found.test_rows_J.tolist()
    train = competition / "train.csv"
    train.write_text(train.read_text().replace("0002,disk", "0002,cross").replace("0003,disk,g0", "0003,disk,g9"))
    text = defects(competition, predict_id="{group}_{side}")
    assert "line 4: label differs from line 2 of the same data.predict_id" in text
    assert "id 'p12_L' is not in" not in text


def test_extra_rows_are_apart(competition: Path) -> None:
    rows = (competition / "train.csv").read_text().splitlines()
    (competition / "more.csv").write_text("\n".join([rows[0], *rows[41:]]) + "\n")
    (competition / "train.csv").write_text("\n".join(rows[:41]) + "\n")
    (competition / "pseudo.csv").write_text("image_id,label,w\ntest:0050,disk=0.5|cross=0.5,2\n")
    extra = [{"table": "more.csv", "weight": 0.5}, {"table": "pseudo.csv", "image": "images/0050.png"}]
    text = defects(competition, extra=extra)
    assert "data.extra: image: found 'images/0050.png', it names no column" in text
    extra[1]["image"] = "images/{image_id[5:]}.png"
    found = read(competition, extra=extra, duplicates="soft").extra
    assert found is not None and len(found.ids) == 9
    assert found.ids[[0, 7, 8]].tolist() == ["extra:0040", "extra:0047", "test:0050"]
    assert found.groups is not None and found.groups[[0, 8]].tolist() == ["g10", ""]
    assert found.weights_E.tolist() == [0.5] * 8 + [1.0] and found.targets_EC[8].tolist() == [0.5, 0.5, 0]
    assert found.images[8] == (f"{competition}/images/0050.png",)
    (competition / "more.csv").write_text("image_id,label,group\n0040,star,g10\n")
    text = defects(competition, extra=[{"table": "more.csv"}])
    assert "more.csv: line 2: label is 'star', expected one of cross, disk, square" in text


def test_absent_images_cost_their_rows_alone(competition: Path) -> None:
    for name in ("0003", "0017", "0050"):
        (competition / f"images/{name}.png").unlink()
    found = read(competition, missing="skip")
    assert len(found.ids) == 46 and "0003" not in found.ids and len(found.table) == len(found.images) == 46
    assert len(found.test_ids) == 12 and found.test_images[2] == () and found.test_images[3] != ()
    assert found.notes[0].startswith("2 rows of train.csv have no image and are left out, first ")
    assert "line 5: images/0003.png: missing" in found.notes[0] and "1 rows of test.csv have no image" in found.notes[1]
    new = find(load_config([competition / "config.yaml"], ["data.missing=skip"]), None)
    assert new.images == found.test_images
    train = competition / "train.csv"
    train.write_text(train.read_text().replace("0005,square", "../../x,square"))
    assert "leaves data.root" in defects(competition, missing="skip")


def test_weights_are_numbers(competition: Path) -> None:
    text = (competition / "train.csv").read_text().splitlines()
    rows = [f"{line},{n / 10}" for n, line in enumerate(text[1:])]
    (competition / "train.csv").write_text("\n".join([f"{text[0]},w", *rows]) + "\n")
    found = read(competition, weight="w")
    assert found.weights_N is not None and found.weights_N.dtype == np.float32 and found.weights_N[20] == 2
    rows[3], rows[5] = "0003,cross,g00,-1", "0005,square,g01,"
    (competition / "train.csv").write_text("\n".join([f"{text[0]},w", *rows]) + "\n")
    told = defects(competition, weight="w")
    assert "line 5: w is '-1', expected a weight of at least 0" in told and "line 7: w is ''" in told


def test_images_of_several_planes_and_inside_archives(competition: Path) -> None:
    with zipfile.ZipFile(competition / "images.zip", "w") as archive:
        for n in range(60):
            archive.writestr(f"in/{n:04d}.png", (competition / f"images/{n:04d}.png").read_bytes())
    planes = ["images/{image_id}.png", "images.zip/in/{image_id}.png"]
    found = read(competition, image=planes)
    assert found.images[7] == (f"{competition}/images/0007.png", f"{competition}/images.zip/in/0007.png")
    text = defects(competition, image="images.zip/{image_id}.png")
    assert "images.zip/0000.png: missing, 'images.zip' holds no folder ''; its folders begin with in" in text


def test_arrays_in_records_are_written_once(competition: Path) -> None:
    rng = np.random.default_rng(0)
    records = [
        {"id": f"{n:04d}", "a": rng.normal(size=6).tolist(), "b": [n] * 6, "angle": "na" if n % 2 else 4.5, "y": n % 2}
        for n in range(10)
    ]
    (competition / "train.json").write_text(json.dumps(records, indent=1))
    (competition / "test.json").write_text(json.dumps([{"id": "t", "a": [1.5] * 6, "b": [2] * 6, "angle": 1}]))
    (competition / "sample_submission.csv").write_text("id,y\nt,0.5\n")
    settings = {
        **{"train": "train.json", "test": "test.json", "id": "id", "target": "y", "group": None},
        **{"image": {"columns": ["a", "b"], "shape": [2, 3]}, "window": [-3, 10]},
    }
    found = read(competition, **settings)
    image = np.load(io.BytesIO(read_bytes(found.images[7][0])), allow_pickle=False)
    assert image.shape == (2, 3, 2) and image.dtype == np.float32
    assert np.allclose(image[..., 0].ravel(), records[7]["a"]) and (image[..., 1] == 7).all()
    assert found.table["angle"].tolist()[:2] == ["4.5", "na"] and found.table["id"].tolist() == found.ids.tolist()
    stack = Path(parts.file_of(found.images[7][0]))
    written = stack.stat().st_mtime_ns
    assert read(competition, **settings).images == found.images
    assert stack.stat().st_mtime_ns == written
    records[3]["b"] = [1] * 5
    (competition / "train.json").write_text(json.dumps(records))
    text = defects(competition, **settings)
    assert "train.json: record 4: b holds 5 numbers, expected 2 × 3 (data.image.shape)" in text


def test_an_index_column_is_no_id_and_submission_id_names_it(competition: Path) -> None:
    sample = competition / "sample_submission.csv"
    rows = sample.read_text().splitlines()[1:]
    sample.write_text("\n".join([",Picture,label", *(f"{n},{row}" for n, row in enumerate(rows))]) + "\n")
    found = with_settings(competition, "submission.id=Picture")
    assert len(found.test_ids) == 12
    found = with_settings(competition, "submission.id=Picture", "data.test=null")
    assert found.test_ids[0] == "0048" and found.test_images[0] == (f"{competition}/images/0048.png",)
    with pytest.raises(InputError, match=r"no column 'picture' \(submission.id\); did you mean 'Picture'"):
        with_settings(competition, "submission.id=picture")
