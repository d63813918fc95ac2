"""Images that are no files of their own: pixels in a table's columns, rows of an array file; and boxes of rows."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.competition.competition import Competition, load
from pipeline.competition.rows.new_images import NewImages, find
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError
from pipeline.images.decoding import decode, read_bytes

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (12, 4, 5), dtype=np.uint8)
TEST = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
COUNTED = {"ImageId": {"count_from": 1}}


def write(root: Path, train: pd.DataFrame, test: pd.DataFrame | None, ids: list[object]) -> None:
    for path in root.glob("*.csv"):
        path.unlink()
    train.to_csv(root / "train.csv", index=False)
    if test is not None:
        test.to_csv(root / "test.csv", index=False)
    pd.DataFrame({"ImageId": ids, "Label": 0}).to_csv(root / "sample_submission.csv", index=False)


def settings(**data: Any) -> list[str]:
    usual = {"id": "ImageId", "derive": COUNTED, "target": "label", "group": None, "task": "binary"}
    return [f"data.{key}={json.dumps(value)}" for key, value in (usual | data).items()]


def read(root: Path, **data: Any) -> Competition:
    return load(load_config([root / "config.yaml"], settings(**data)))


def defects(root: Path, **data: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(root, **data)
    return "\n".join(caught.value.lines)


def pixels(values: np.ndarray, names: list[str], **more: object) -> pd.DataFrame:
    return pd.DataFrame(values.reshape(len(values), -1), columns=names).assign(**more)


def shown(images: list[tuple[str, ...]]) -> np.ndarray:
    return np.stack([np.load(io.BytesIO(read_bytes(source[0])), allow_pickle=False) for source in images])


@pytest.mark.parametrize(
    "names, pattern",
    [
        ([f"pixel{n}" for n in range(20)], "pixel*"),
        ([f"{n // 5 + 1}x{n % 5 + 1}" for n in range(20)], "*x*"),
        ([f"pixel{n:04}" for n in range(20)], ["pixel*"]),
    ],
)
def test_pixel_columns_are_an_image(competition: Path, names: list[str], pattern: str | list[str]) -> None:
    label = np.arange(12) % 2
    train, test = pixels(TRAIN, names, label=label), pixels(TEST, names)
    mixed = RNG.permutation(train.columns)  # their numbers order them, not their places
    write(competition, train[mixed], test, [1, 2, 3])
    found = read(competition, image={"columns": pattern, "shape": [4, 5]})
    assert found.ids.tolist() == [str(n) for n in range(1, 13)] and found.test_ids.tolist() == ["1", "2", "3"]
    assert list(found.table.columns)[:1] == ["label"] and shown(found.images).dtype == np.uint8
    assert (shown(found.images)[..., 0] == TRAIN).all() and (shown(found.test_images)[..., 0] == TEST).all()
    assert (decode(found.images[3], None) == TRAIN[3][..., None]).all()
    again = read(competition, image={"columns": pattern, "shape": [4, 5]})
    assert again.images == found.images


def test_colour_in_pixel_columns_and_in_one_cell(competition: Path) -> None:
    colour = RNG.integers(0, 256, (12, 4, 5, 3), dtype=np.uint8)
    names = [f"pixel{n}" for n in range(60)]
    label = np.arange(12) % 2
    write(competition, pixels(colour, names, label=label), pixels(colour[:3], names), [1, 2, 3])
    found = read(competition, image={"columns": ["pixel*"], "shape": [4, 5, 3]})
    assert (shown(found.images) == colour).all()
    planes = {f"{name}{n}": colour[..., c].reshape(12, -1)[:, n] for c, name in enumerate("rgb") for n in range(20)}
    write(competition, pd.DataFrame(planes).assign(label=label), pd.DataFrame(planes).iloc[:3], [1, 2, 3])
    found = read(competition, image={"columns": ["r*", "g*", "b*"], "shape": [4, 5]})
    assert (shown(found.images) == colour).all() and (decode(found.images[5], None) == colour[5]).all()
    cells = [" ".join(map(str, image.ravel())) for image in TRAIN]
    write(competition, pd.DataFrame({"pixels": cells, "label": label}), pd.DataFrame({"pixels": cells[:3]}), [1, 2, 3])
    found = read(competition, image={"columns": "pixels", "shape": [4, 5]})
    assert (shown(found.images)[..., 0] == TRAIN).all()
    lists = [json.dumps(image.ravel().tolist()) for image in TRAIN]
    write(competition, pd.DataFrame({"pixels": lists, "label": label}), pd.DataFrame({"pixels": lists[:3]}), [1, 2, 3])
    assert (shown(read(competition, image={"columns": "pixels", "shape": [4, 5]}).images)[..., 0] == TRAIN).all()


def test_numbers_keep_their_depth(competition: Path) -> None:
    label, image = np.arange(12) % 2, {"columns": "p*", "shape": [4, 5]}
    names = [f"p{n}" for n in range(20)]
    deep = TRAIN.astype(np.uint16) * 250
    write(competition, pixels(deep, names, label=label), pixels(deep[:3], names), [1, 2, 3])
    found = read(competition, image=image)
    assert shown(found.images).dtype == np.uint16 and (shown(found.images)[..., 0] == deep).all()
    scaled = TRAIN / 255
    write(competition, pixels(scaled, names, label=label), pixels(scaled[:3], names), [1, 2, 3])
    text = defects(competition, image=image)
    assert "train.csv: its numbers go from 0 to 1, expected whole numbers of 8 or 16 bits; " in text
    assert "data.window=[0, 1]" in text and text.count("train.csv") == 1
    found = read(competition, image=image, window=[0, 1])
    assert np.allclose(shown(found.images)[..., 0], scaled) and shown(found.images).dtype == np.float32


def test_what_is_wrong_with_pixel_columns(competition: Path) -> None:
    names = [f"pixel{n}" for n in range(20)]
    train = pixels(TRAIN, names, label=np.arange(12) % 2).astype(object)
    train.iloc[4, 7] = "x"
    train.iloc[6, 0] = ""
    write(competition, train, pixels(TEST, names), [1, 2, 3])
    text = defects(competition, image={"columns": "pixel*", "shape": [4, 5]})
    assert "train.csv: line 6: pixel7 is 'x', expected a number" in text
    assert "train.csv: line 8: pixel0 is ''" in text
    text = defects(competition, image={"columns": "pixel*", "shape": [4, 4]})
    assert "pixel* is 20 columns, expected 4 × 4 (data.image.shape)" in text
    assert "no column 'px*' (data.image.columns)" in defects(competition, image={"columns": "px*", "shape": [4, 5]})
    text = defects(competition, image={"columns": ["pixel1"], "shape": [4, 5]})
    assert "pixel1 holds one number" in text and "pixel* names all 20 columns" in text


def stacks(root: Path, form: str) -> tuple[str, str]:
    """Write the stacks and return the templates."""
    if form == "npz":
        np.savez_compressed(root / "all.npz", x_train=TRAIN, x_test=TEST, y=np.arange(12))
        return "all.npz/x_train[{row}]", "all.npz/x_test[{row}]"
    np.save(root / "X_train.npy", TRAIN)
    np.save(root / "X_test.npy", TEST)
    if form == "npy":
        return "X_train.npy[{row}]", "X_test.npy[{row}]"
    with zipfile.ZipFile(root / "x.zip", "w") as packed:
        for name in ("X_train.npy", "X_test.npy"):
            packed.write(root / name, f"in/{name}")
            (root / name).unlink()
    return "x.zip/in/X_train.npy[{row}]", "x.zip/in/X_test.npy[{row}]"


def stacked(root: Path) -> dict[str, Any]:
    ids = [f"te{n}" for n in range(3)]
    write(root, pd.DataFrame({"ImageId": [f"im{n}" for n in range(12)], "label": np.arange(12) % 2}), None, list(ids))
    return {"derive": {"row": {"count_from": 0}}, "test": None}


@pytest.mark.parametrize("form", ["npy", "npz", "zip"])
def test_rows_of_a_stack(competition: Path, form: str) -> None:
    data = stacked(competition)
    image, test_image = stacks(competition, form)
    found = read(competition, image=image, test_image=test_image, **data)
    assert (shown(found.images) == TRAIN).all() and (shown(found.test_images) == TEST).all()
    assert found.ids[5] == "im5" and found.test_ids.tolist() == ["te0", "te1", "te2"]
    chosen = read(competition, image=image, test_image=test_image, where={"ImageId": ["im3", "im8"]}, **data)
    assert (shown(chosen.images) == TRAIN[[3, 8]]).all()  # a row keeps its number


def test_a_stack_without_a_table_of_its_own(competition: Path) -> None:
    data = stacked(competition)
    stacks(competition, "npy")
    np.save(competition / "y_train.npy", (np.arange(12) % 2).astype(np.int64))
    data |= {"train": "y_train.npy", "target": "y_train", "id": "id", "derive": {"id": {"count_from": 0}}}
    write(competition, pd.DataFrame({"a": [1]}), None, [0, 1, 2])
    (competition / "sample_submission.csv").write_text("id,y_train\n0,0\n1,0\n2,0\n")
    found = read(competition, image="X_train.npy[{id}]", test_image="X_test.npy[{id}]", **data)
    assert found.targets_NC[:, 1].tolist() == [0, 1] * 6 and (shown(found.images) == TRAIN).all()


def test_what_is_wrong_with_a_stack(competition: Path) -> None:
    data = stacked(competition)
    image, test_image = stacks(competition, "npy")
    np.save(competition / "X_train.npy", TRAIN[:10])
    text = defects(competition, image=image, test_image=test_image, **data)
    assert "line 12: X_train.npy[10]: has no row '10', expected a number from 0 to 9" in text
    text = defects(competition, image="X_train.npy", test_image=test_image, **data)
    assert "found 'X_train.npy', one file for all rows, expected a row of it, 'X_train.npy[{row}]'" in text
    text = defects(competition, image="X_trian.npy[{row}]", test_image=test_image, **data)
    assert "line 2: X_trian.npy[0]: missing" in text
    np.save(competition / "X_train.npy", TRAIN.reshape(12, -1))
    assert "holds an array of shape (12, 20), expected images" in defects(
        competition, image=image, test_image=test_image, **data
    )


def new(root: Path, path: Path, **data: Any) -> NewImages:
    return find(load_config([root / "config.yaml"], settings(**data)), str(path))


def test_new_images_in_stacks_and_columns(competition: Path, tmp_path: Path) -> None:
    data = stacked(competition)
    image, test_image = stacks(competition, "npy")
    other = tmp_path / "elsewhere"
    other.mkdir()
    np.save(other / "new.npy", TRAIN[5:9])
    found = new(competition, other / "new.npy", image=image, test_image=test_image, **data)
    assert found.ids.tolist() == ["0", "1", "2", "3"] and (shown(found.images) == TRAIN[5:9]).all()
    np.save(other / "X_test.npy", TRAIN[2:4])
    (other / "some.csv").write_text("ImageId\nb\na\n")
    found = new(competition, other / "some.csv", image=image, test_image=test_image, **data)
    assert found.ids.tolist() == ["b", "a"] and (shown(found.images) == TRAIN[2:4]).all()
    with pytest.raises(InputError, match="an array, expected a folder or a table"):
        new(competition, other / "new.npy", image="images/{ImageId}.png", **data)
    names = [f"pixel{n}" for n in range(20)]
    pixels(TEST[::-1], names).to_csv(other / "pixels.csv", index=False)
    found = new(competition, other / "pixels.csv", image={"columns": "pixel*", "shape": [4, 5]})
    assert found.ids.tolist() == ["1", "2", "3"] and (shown(found.images)[..., 0] == TEST[::-1]).all()


BOXES = {"crop": {"columns": ["x", "y", "w", "h"], "margin": 0.1}}


def boxed(root: Path) -> Path:
    """Give the tiny competition boxes, one blank and one that leaves the picture."""
    for name in ("train", "test"):
        table = pd.read_csv(root / f"{name}.csv", dtype=str).assign(x="2", y="3", w="10", h="12.5")
        table.loc[1, ["x", "y", "w", "h"]] = ""
        table.loc[2, "x"] = "-4"
        table.to_csv(root / f"{name}.csv", index=False)
    return root


def boxes(root: Path, *more: str) -> list[str]:
    return [f"data.crop={json.dumps(BOXES['crop'])}", *more]


def test_boxes_stand_behind_the_paths(competition: Path) -> None:
    found = load(load_config([boxed(competition) / "config.yaml"], boxes(competition)))
    assert [source[0].rpartition("/")[2] for source in found.images[:3]] == [
        *("0000.png#xywh=2,3,10,12.5", "0001.png#xywh=", "0002.png#xywh=-4,3,10,12.5"),
    ]
    assert found.test_images[0][0].endswith("0048.png#xywh=2,3,10,12.5")
    notes = [note for note in found.notes if "no box" in note]
    assert len(notes) == 2 and notes[0].startswith("1 rows have no box and show the whole picture, first ")
    whole = np.asarray(Image.open(competition / "images/0001.png"))
    assert (decode(found.images[1], None) == whole).all()


def test_boxes_that_are_none_are_defects(competition: Path) -> None:
    table = pd.read_csv(boxed(competition) / "train.csv", dtype=str)
    table.loc[3, "w"], table.loc[4, "h"], table.loc[5, "y"] = "0", "wide", ""
    table.to_csv(competition / "train.csv", index=False)
    pd.read_csv(competition / "test.csv", dtype=str).drop(columns="h").to_csv(competition / "test.csv", index=False)
    with pytest.raises(InputError) as caught:
        load(load_config([competition / "config.yaml"], boxes(competition)))
    text = "\n".join(caught.value.lines)
    for line in ("line 5: x, y, w, h are '2', '3', '0', '12.5'", "line 6: ", "line 7: x, y, w, h are '2', '', '10'"):
        assert f"train.csv: {line}" in text
    assert "test.csv: no column 'h' (data.crop.columns)" in text


def test_new_images_need_their_boxes(competition: Path) -> None:
    boxed(competition)
    config = load_config([competition / "config.yaml"], boxes(competition))
    found = find(config, str(competition / "test.csv"))
    assert found.images[0][0].endswith("#xywh=2,3,10,12.5")
    with pytest.raises(InputError, match=r"a folder, expected a table with x, y, w, h \(data\.crop\.columns\)"):
        find(config, str(competition / "images"))


@pytest.mark.parametrize(
    "crop, told",
    [
        ("{}", "found neither, expected center or columns"),
        ("{center: 0.5, columns: [x, y, w, h]}", "found both"),
        ("{center: 0.5, margin: 0.1}", "data.crop.margin: found 0.1, expected columns"),
        ("{center: 0}", "data.crop: found 0; input should be greater than 0"),
        ("{columns: [x, y]}", "data.crop: found ['x', 'y']; list should have at least 4 items"),
    ],
)
def test_crops_that_say_nothing_are_refused(competition: Path, crop: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config([competition / "config.yaml"], [f"data.crop={crop}"])
    assert told in "\n".join(caught.value.lines)


def test_panels_need_several_pictures_and_keep_three_channels(competition: Path) -> None:
    path = [competition / "config.yaml"]
    with pytest.raises(InputError, match=r"data\.panels: found row, expected several templates in data\.image"):
        load_config(path, ["data.panels=row"])
    several = 'data.image=["images/{image_id}.png", "images/{image_id}.png"]'
    assert load_config(path, [several]).data.in_chans == 2
    assert load_config(path, [several, "data.panels=row"]).data.in_chans == 3
    assert load_config(path, [several, "data.panels=row", "data.channels=1"]).data.in_chans == 1
