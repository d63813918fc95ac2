"""Equal images under several ids: found, named, and never on both sides of a fold."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import Cli
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.batches import fold_rows, seen
from pipeline.batches.inputs import Inputs
from pipeline.checking import stage as check
from pipeline.competition.competition import Competition
from pipeline.competition.rows.external_rows import Extra
from pipeline.config.config import Config
from pipeline.config.loading import load, parse
from pipeline.errors import InputError, MismatchError
from pipeline.files.atomic import read_json
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.images.cache import ImageSet, open_config

CONTENTS, COPIES, BLANK = 24, 3, 23  # the last content is an image of one colour


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some contents, several files of each."""
    folder = tmp_path_factory.mktemp("pool")
    for content in range(CONTENTS):
        pixels = np.random.default_rng(content).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        shown = np.full_like(pixels, 9) if content == BLANK else pixels
        for copy in range(COPIES):
            Image.fromarray(shown).save(folder / f"{content}-{copy}.png")
    return folder


def made(
    pool: Path, rows: list[tuple[int, int]], groups: list[int] | None, extra: list[tuple[int, int]]
) -> Competition:
    """Return rows that show (content, copy), every third one of class 1, and as many test rows as extra ones."""
    ids, images = np.array([f"im{n:02d}" for n in range(len(rows))]), [(f"{pool}/{c}-{i}.png",) for c, i in rows]
    further = [(f"{pool}/{c}-{i}.png",) for c, i in extra]
    targets_NC = np.eye(2, dtype=np.float32)[(np.arange(len(rows)) % 3 == 0).astype(int)]
    named = np.array([f"extra:{n}" for n in range(len(extra))])
    group_E = None if groups is None else np.full(len(extra), "")
    return Competition(
        ids=ids,
        images=images,
        rows_I=np.arange(len(ids)),
        image_ids=ids,
        table=pd.DataFrame({"id": ids, "label": targets_NC[:, 1].astype(int).astype(str)}),
        groups=None if groups is None else np.array([f"g{number}" for number in groups]),
        classes=("0", "1"),
        targets_NC=targets_NC,
        weights_N=None,
        test_ids=np.array([f"te{n}" for n in range(len(extra))]),
        test_images=further,
        test_rows_J=np.arange(len(extra)),
        test_image_ids=np.array([f"te{n}" for n in range(len(extra))]),
        extra=Extra(named, further, group_E, np.eye(2, dtype=np.float32)[[0] * len(extra)], np.ones(len(extra))),
        sample=pd.DataFrame(),
    )


def config_of(pool: Path, group: bool, n: int) -> Config:
    data: dict[str, Any] = {"root": str(pool), "image": "{id}.png", "target": "label", "task": "binary"}
    data |= {"group": "group" if group else None, "cache": {"dir": str(pool / "cache")}}
    tree = {
        "name": "c",
        "folds_dir": str(pool / "folds"),
        "data": data,
        "folds": {"n": n},
        "model": {"name": "test_resnet", "size": 8},
    }
    return parse(tree, "c.yaml")


shown = st.tuples(st.integers(0, CONTENTS - 1), st.integers(0, COPIES - 1))


@settings(max_examples=15)
@given(
    rows=st.lists(shown, min_size=12, max_size=30),
    extra=st.lists(shown, min_size=1, max_size=8),
    group_of=st.none() | st.lists(st.integers(0, 25), min_size=30, max_size=30),
    n=st.integers(2, 3),
)
def test_no_fold_trains_on_an_image_that_it_validates(
    pool: Path, rows: list[tuple[int, int]], extra: list[tuple[int, int]], group_of: list[int] | None, n: int
) -> None:
    """Whatever is planted, but for images that mean nothing: of one colour, or in more rows than a fold has."""
    config = config_of(pool, group_of is not None, n)
    read = made(pool, rows, None if group_of is None else group_of[: len(rows)], extra)
    found = seen.see(config, read, lambda *asked: open_config(*asked, progress=False))
    competition = found.competition
    try:
        folds.run(config, force=True, competition=competition)
    except InputError as error:
        assert "groups for" in str(error)  # fewer than folds, since so many are united
        event("too few groups")
        return
    table = fold_table.read(config)
    fold_table.verify(table, competition)
    content = np.array([c for c, _ in (*rows, *extra)])
    many = {c for c in range(CONTENTS) if (content[: len(rows)] == c).sum() > max(3, len(rows) / n)}
    for fold in range(table.n):
        held = np.flatnonzero(np.isin(competition.ids, table.valid_ids(fold)))
        numbers = fold_rows.train_numbers(competition, table, fold, table.train_ids(fold), found.train)
        both = set(content[held].tolist()) & set(content[numbers].tolist())
        assert both <= {BLANK, *many}
        groups = np.array(group_of or range(30))
        assert not set(groups[held].tolist()) & set(groups[numbers[numbers < len(rows)]].tolist())
        left = set(range(len(rows), len(content))) - set(numbers.tolist())
        assert set(content[list(left)].tolist()) <= set(content[held].tolist())  # nothing else is left out
        assert len(numbers) + len(held) + len(left) == len(content)


def plant(root: Path, **data: Any) -> Path:
    """Copy 0000 (cross, g00) to 0005 (square, g01), 0006 to the test's 0050, and give train.csv again as extra."""
    shutil.copy(root / "images/0000.png", root / "images/0005.png")
    shutil.copy(root / "images/0006.png", root / "images/0050.png")
    (root / "copies").mkdir()
    for n in range(2):
        shutil.copy(root / f"images/{n + 20:04d}.png", root / f"copies/x{n}.png")
    (root / "copies.csv").write_text("image_id,label\nx0,square\nx1,square\n")
    shutil.copy(root / "train.csv", root / "again.csv")
    tree = yaml.safe_load((root / "config.yaml").read_text())
    extra = [{"table": "again.csv"}, {"table": "copies.csv", "image": "copies/{image_id}.png"}]
    tree["data"] |= {"extra": extra, **data}
    (root / "config.yaml").write_text(yaml.safe_dump(tree))
    return root / "config.yaml"


SAID = (
    "2 training rows show 1 images more than once, first '0000' and '0005'; the labels of 1 of them differ, first"
    " '0000' and '0005'; the groups of 1 of them differ, first '0000' and '0005'",
    "50 extra rows show an image of a training row, first 'extra:0000' and '0000'; the labels of 2 differ",
    "1 extra rows show an image of a test row, first 'extra:0006' and '0050'",
    "1 of 12 test rows show an image of a training row, first '0050' and '0006'",
)
DONE = {
    "group": ("each stays within one fold", "left out of the fold that validates it"),
    "keep": ("they may lie in different folds", "every fold trains on them"),
}


@pytest.mark.parametrize("group", ["group", None])
def test_check_names_what_was_planted_and_folds_hold_it_apart(
    competition: Path, group: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load([plant(competition, group=group)])
    inputs = Inputs()
    notes = read_json(check.run(config, inputs=inputs))["notes"]
    within = SAID[0] if group else SAID[0].split("; the groups")[0]
    unseen = "; out-of-fold scores say nothing of such rows"
    ends = [f"; {done}" for done in DONE["group"]] + [unseen] * 2
    assert notes == [f"{line}{end}" for line, end in zip((within, *SAID[1:]), ends, strict=True)]
    assert all(f"note: {note}" in capsys.readouterr().out for note in notes[:1])
    read = inputs.competition(config)
    folds.run(config, competition=read)
    table, images = fold_table.read(config), inputs.training_images(config)
    row = {name: n for n, name in enumerate(table.ids.tolist())}
    assert table.fold[row["0000"]] == table.fold[row["0005"]]
    assert table.groups[row["0005"]] == ("g00" if group else "equal:0000")
    assert table.groups[row["0020"]] == ("g05" if group else "")
    for fold in range(3):
        held = set(table.valid_ids(fold).tolist())
        numbers = fold_rows.train_numbers(read, table, fold, table.train_ids(fold), images)
        names = set(fold_rows.names(read)[numbers].tolist())
        assert not {f"extra:{name}" for name in held} & names
        assert ("extra:x0" in names) == ("0020" not in held) and ("extra:x1" in names) == ("0021" not in held)
        assert {name for name in names if name.startswith("extra:00")} == {
            f"extra:{name}" for name in row if name not in held
        } - ({"extra:0000", "extra:0005"} if held & {"0000", "0005"} else set())


def test_keep_only_tells_and_error_refuses(competition: Path) -> None:
    path, asked = plant(competition), "data.duplicates_by_content="
    config, inputs = load([path], [f"{asked}keep"]), Inputs()
    notes = read_json(check.run(config, inputs=inputs))["notes"]
    assert [note.split("; ")[-1] for note in notes[:2]] == list(DONE["keep"])
    read = inputs.competition(config)
    assert read.groups is not None and read.groups.tolist() == read.table["group"].tolist()
    folds.run(config, competition=read)
    table, images = fold_table.read(config), inputs.training_images(config)
    numbers = fold_rows.train_numbers(read, table, 0, table.train_ids(0), images)
    assert "extra:x0" in fold_rows.names(read)[numbers] and "extra:x1" in fold_rows.names(read)[numbers]
    with pytest.raises(InputError) as caught:
        check.run(load([path], [f"{asked}error"]))
    assert [line.split("; take")[0] for line in caught.value.lines] == [f"images: {line}" for line in SAID]


def test_folds_that_were_frozen_before_hold_where_no_equal_images_cross(competition: Path) -> None:
    """Made by an earlier version: with the table's own groups."""
    config = load([competition / "config.yaml"])
    folds.run(config)
    table = fold_table.read(config)
    first, second = table.valid_ids(0)[:2]
    other = table.valid_ids(1)[0]
    far = next(name for name in table.valid_ids(0).tolist() if name[:2] == "00" and int(name) // 4 != int(first) // 4)
    shutil.copy(competition / f"images/{first}.png", competition / f"images/{second}.png")
    shutil.copy(competition / f"images/{first}.png", competition / f"images/{far}.png")
    folds.run(config, competition=seen.load(config))
    assert fold_table.read(config).groups.tolist() == table.groups.tolist()
    shutil.copy(competition / f"images/{first}.png", competition / f"images/{other}.png")
    with pytest.raises(MismatchError) as caught:
        folds.run(config, competition=seen.load(config))
    (line,) = caught.value.lines
    assert f"equal images lie in several folds, 1 times (first the group of '{first}' in fold 0, '{other}'" in line
    assert "foldline folds --force, or set data.duplicates_by_content: keep" in line
    keep = load([competition / "config.yaml"], ["data.duplicates_by_content=keep"])
    folds.run(keep, competition=seen.load(keep))
    folds.run(config, force=True, competition=seen.load(config))
    fold_of = dict(zip(fold_table.read(config).ids.tolist(), fold_table.read(config).fold.tolist(), strict=True))
    assert len({fold_of[name] for name in (first, second, far, other)}) == 1


def test_nothing_changes_without_equal_images(competition: Path) -> None:
    config = load([competition / "config.yaml"])
    read, found = check_free(config)
    assert found.groups is read.groups and found.extra is read.extra and found.notes == read.notes == ()
    assert found.table_groups is None


def check_free(config: Config) -> tuple[Competition, Competition]:
    from pipeline.competition.competition import load as read_tables

    read = read_tables(config)
    return read, seen.see(config, read, open_config).competition


def test_images_of_one_colour_do_not_chain_groups(competition: Path) -> None:
    for n in range(0, 48, 5):
        Image.new("RGB", (32, 32), (7, 7, 7)).save(competition / f"images/{n:04d}.png")
    read, found = check_free(load([competition / "config.yaml"]))
    assert found.groups is read.groups
    (note,) = found.notes
    assert note.startswith("10 training rows show an image of one colour, first '0000' and '0005'; such images are not")


def test_a_placeholder_in_more_rows_than_a_fold_has_does_not_chain_groups(competition: Path) -> None:
    for n in range(0, 48, 2):
        shutil.copy(competition / "images/0047.png", competition / f"images/{n:04d}.png")
    read, found = check_free(load([competition / "config.yaml"]))
    assert found.groups is read.groups
    assert found.notes[0].startswith(
        "25 training rows show an image of another file that more rows show than a fold has"
    )


def test_a_row_per_object_keeps_the_image_in_one_fold(competition: Path) -> None:
    """Several rows name one file: they belong together, however many they are."""
    for k in range(12):
        shutil.copy(competition / f"images/{k * 4:04d}.png", competition / f"images/00g{k:02d}.png")
    paths = ["data.image='images/00{group}.png'", "data.test_image='images/{image_id}.png'", "data.group=null"]
    config = load([competition / "config.yaml"], paths)
    read, found = check_free(config)
    assert read.groups is None and found.groups is not None and len(set(found.groups.tolist())) == 12
    assert found.notes[0].startswith("48 training rows show 12 images more than once, first '0000' and '0001'")
    path = check.run(config, images=False)  # their paths tell it, too
    assert read_json(path)["groups"] == {"count": 12, "smallest": 4, "largest": 4}


def test_boxes_of_one_picture_stay_in_one_fold(competition: Path) -> None:
    """Also where the boxes differ, and in extra rows."""
    lines = (competition / "train.csv").read_text().splitlines()
    boxes = [f"{line},{n % 4 * 4},0,{8 + n % 4},8" for n, line in enumerate(lines[1:])]
    (competition / "train.csv").write_text("\n".join([f"{lines[0]},x,y,w,h", *boxes]) + "\n")
    (competition / "more.csv").write_text("image_id,label,group,x,y,w,h\n0050,disk,g03,1,1,9,9\n")
    test = (competition / "test.csv").read_text().splitlines()
    (competition / "test.csv").write_text("\n".join([f"{test[0]},x,y,w,h", *(f"{one},0,0,8,8" for one in test[1:])]))
    for k in range(12):
        shutil.copy(competition / f"images/{k * 4:04d}.png", competition / f"images/00g{k:02d}.png")
    settings = ["data.image='images/00{group}.png'", "data.test_image='images/{image_id}.png'", "data.group=null"]
    settings += ["data.crop={columns: [x, y, w, h]}", "data.extra=[{table: more.csv}]"]
    config, inputs = load([competition / "config.yaml"], settings), Inputs()
    read = inputs.competition(config)
    assert read.groups is not None and len(set(read.groups.tolist())) == 12
    assert read.notes[0].startswith("48 training rows show 12 images more than once, first '0000' and '0001'")
    assert read.notes[1].startswith("1 extra rows show an image of a training row, first 'extra:0050' and '0012'")
    folds.run(config, competition=read)
    table, images = fold_table.read(config), inputs.training_images(config)
    home = int(table.fold[table.ids.tolist().index("0012")])
    for fold in range(3):
        numbers = fold_rows.train_numbers(read, table, fold, table.train_ids(fold), images)
        assert ("extra:0050" in fold_rows.names(read)[numbers]) == (fold != home)


def test_a_scheme_that_would_split_equal_images_is_refused(competition: Path) -> None:
    shutil.copy(competition / "images/0000.png", competition / "images/0005.png")
    config = load([competition / "config.yaml"], ["data.group=null", "folds.scheme=stratified"])
    with pytest.raises(InputError, match=r"rows with equal images into several folds.*duplicates_by_content: keep"):
        folds.run(config, competition=seen.load(config))


def test_folds_alone_see_the_images(competition: Path, cli: Cli) -> None:
    """The command reads what check would, without torch."""
    shutil.copy(competition / "images/0000.png", competition / "images/0005.png")
    done = cli("folds", "-c", competition / "config.yaml", "--set", "data.group=null")
    assert done.returncode == 0, done.stderr
    assert "scheme stratified_group (rows share images, each row carries one label)" in done.stdout


def test_extra_rows_that_are_left_out_are_in_the_stamp(competition: Path) -> None:
    """A fold that was trained on them is told apart."""
    config, inputs = load([plant(competition)]), Inputs()
    read = inputs.competition(config)
    folds.run(config, competition=read)
    images: ImageSet = inputs.training_images(config)
    assert set(fold_rows.equal_extra(read, fold_table.read(config), images)) == {"equal_extra"}
    keep = load([competition / "config.yaml"], ["data.duplicates_by_content=keep"])
    assert not fold_rows.equal_extra(inputs.competition(keep), fold_table.read(config), inputs.training_images(keep))
