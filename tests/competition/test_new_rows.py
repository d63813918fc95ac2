from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.competition.rows.new_images import NewImages, find
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError
from pipeline.images.decoding import read_bytes


def new(root: Path, test: Path | None, *settings: str) -> NewImages:
    return find(load_config([root / "config.yaml"], settings), None if test is None else str(test))


@pytest.fixture
def elsewhere(competition: Path, tmp_path: Path) -> Path:
    """A folder with some of the images, away from the competition."""
    folder = tmp_path / "elsewhere"
    (folder / "images").mkdir(parents=True)
    for n in range(48, 52):
        shutil.copy(competition / f"images/{n:04d}.png", folder / "images")
    return folder


def test_a_folder_an_archive_and_a_table_give_the_same(competition: Path, elsewhere: Path) -> None:
    ids = ["0048", "0049", "0050", "0051"]
    with zipfile.ZipFile(elsewhere / "new.zip", "w") as archive:
        archive.write(elsewhere / "images/0049.png", "deep/images/0049.png")
        archive.writestr("notes.txt", "none")
    with tarfile.open(elsewhere / "new.tar", "w") as tar:
        tar.add(elsewhere / "images", "images")
    (elsewhere / "new.json").write_text(json.dumps([{"image_id": name, "boxes": [1]} for name in ids]))
    folder = new(competition, elsewhere / "images")
    assert folder.ids.tolist() == ids and folder.rows_J.tolist() == [0, 1, 2, 3]
    assert folder.images[0] == (f"{elsewhere}/images/0048.png",)
    inside = new(competition, elsewhere / "new.zip")
    assert inside.ids.tolist() == ["0049"] and inside.images == [(f"{elsewhere}/new.zip/deep/images/0049.png",)]
    assert inside.notes == ("1 files are no images and were left out",)
    assert new(competition, elsewhere / "new.tar").ids.tolist() == ids
    table = new(competition, elsewhere / "new.json")
    assert table.ids.tolist() == ids and table.images == folder.images


def test_planes_of_a_folder_are_put_together(competition: Path, elsewhere: Path) -> None:
    for name in ("a_r", "a_g", "b_r", "b_g"):
        shutil.copy(competition / "images/0000.png", elsewhere / f"images/{name}.png")
    planes = "data.image=['x/{image_id}_r.png', 'x/{image_id}_g.png']"
    found = new(competition, elsewhere / "images", planes)
    assert found.ids.tolist() == ["a", "b"] and found.notes == ("4 files are no images and were left out",)
    assert found.images[1] == (f"{elsewhere}/images/b_r.png", f"{elsewhere}/images/b_g.png")
    (elsewhere / "images/b_g.png").unlink()
    with pytest.raises(InputError, match=r"id 'b' has no file for x/\{image_id\}_g.png"):
        new(competition, elsewhere / "images", planes)


def test_a_folder_tells_what_is_predicted_where_its_paths_do(competition: Path, elsewhere: Path) -> None:
    for name in ("p1/1_L.png", "p1/2_L.png", "p2/3_R.png"):
        (elsewhere / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(competition / "images/0000.png", elsewhere / "new" / name)
    settings = ["data.image='images/{image_id}_{side}.png'", "data.predict_id='{pair}'"]
    derive = "data.derive={pair: 'odd {side}'}"
    found = new(competition, elsewhere / "new", *settings, derive)
    assert found.ids.tolist() == ["odd L", "odd R"] and found.rows_J.tolist() == [0, 0, 1]
    assert found.image_ids.tolist() == ["1", "2", "3"]
    with pytest.raises(InputError, match=r"data.predict_id: '\{pair\}' is no column"):
        new(competition, elsewhere / "new", *settings)


def test_tables_are_joined_and_samples_may_repeat_ids(competition: Path, elsewhere: Path) -> None:
    (competition / "places.csv").write_text("image_id,place\n0048,images\n0049,images\n")
    (elsewhere / "sample_submission.csv").write_text(",Image_ID,label\n0,0049,x\n1,0048,x\n2,0049,x\n")
    settings = [
        "data.joins=[{table: places.csv, on: image_id, rows: test}]",
        "data.test_image='{place}/{image_id}.png'",
    ]
    found = new(competition, elsewhere / "sample_submission.csv", *settings)
    assert found.ids.tolist() == ["0049", "0048"] and found.sample_is_its_own
    assert found.sample is not None and found.sample.path == elsewhere / "sample_submission.csv"
    assert found.images[0] == (f"{elsewhere}/images/0049.png",)  # nearer than below data.root
    shutil.rmtree(elsewhere / "images")
    found = new(competition, elsewhere / "sample_submission.csv", *settings)
    assert found.images[0] == (f"{competition}/images/0049.png",)


def test_every_defect_of_a_table_is_told(competition: Path, elsewhere: Path) -> None:
    (elsewhere / "new.csv").write_text("image_id,x\n0048,\n0048,\n0077,\n ,x\n")
    with pytest.raises(InputError) as caught:
        new(competition, elsewhere / "new.csv")
    text = "\n".join(caught.value.lines)
    assert "new.csv: line 3: id '0048' stands in line 2 already" in text
    assert "new.csv: line 4: images/0077.png: missing" in text and "new.csv: line 5: image_id is blank" in text
    (competition / "test.csv").unlink()
    with pytest.raises(InputError, match="name the images with --test"):
        new(competition, None)


def test_records_that_hold_images(competition: Path, elsewhere: Path) -> None:
    (elsewhere / "new.json").write_text(json.dumps([{"image_id": "x", "a": [1, 2, 3, 4]}]))
    image = "data.image={columns: [a], shape: [2, 2]}"
    ((path,),) = new(competition, elsewhere / "new.json", image).images
    assert np.load(io.BytesIO(read_bytes(path)))[..., 0].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(InputError, match="expected a table"):
        new(competition, elsewhere / "images", image)
