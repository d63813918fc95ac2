from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.competition import data_root
from pipeline.competition.competition import Competition, load, survey
from pipeline.competition.rows.rows import SHOWN, Findings
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError, Problem


def read(root: Path, *settings: str) -> Competition:
    return load(load_config([root / "config.yaml"], settings))


def defects(root: Path, *settings: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(root, *settings)
    return list(caught.value.lines)


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_rows_come_in_file_order_with_ids_as_text(competition: Path) -> None:
    found = read(competition)
    assert found.ids[:2].tolist() == ["0000", "0001"]
    assert found.classes == ("cross", "disk", "square")
    assert found.targets_NC.dtype == np.float32
    assert found.targets_NC[:3].tolist() == np.eye(3).tolist()
    assert found.groups is not None and found.groups[4] == "g01"
    assert found.images[5] == (str(competition / "images/0005.png"),)
    assert found.test_ids[0] == "0048" and found.test_images[0] == (str(competition / "images/0048.png"),)
    assert found.sample.columns.tolist() == ["image_id", "label"] and not found.notes


def test_row_order_carries_through(competition: Path) -> None:
    path = competition / "train.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\r\n".join([header, *reversed(rows)]))
    found = read(competition)
    assert found.ids[0] == "0047" and found.images[0][0].endswith("/0047.png") and found.targets_NC[0].argmax() == 2


def test_without_a_test_table_the_sample_gives_the_ids_and_may_repeat_them(competition: Path) -> None:
    sample = competition / "sample_submission.csv"
    sample.write_text("Image_ID,label\n0049,disk\n0048,disk\n0049,disk\n")
    found = read(competition, "data.test=null")
    assert found.test_ids.tolist() == ["0049", "0048"]
    assert [os.path.basename(path) for (path,) in found.test_images] == ["0049.png", "0048.png"]
    assert len(found.sample) == 3


def test_template_takes_any_columns_and_test_rows_their_own(competition: Path) -> None:
    (competition / "by_group").mkdir()
    for i in range(48):
        folder = competition / f"by_group/g{i // 4:02d}"
        folder.mkdir(exist_ok=True)
        (competition / f"images/{i:04d}.png").rename(folder / f"x{i:04d}.PNG")
    found = read(
        competition,
        "data.image='by_group/{group}/x{image_id}.PNG'",
        "data.test_image='images/{image_id}.png'",
    )
    assert found.images[47] == (str(competition / "by_group/g11/x0047.PNG"),)
    assert found.test_images[0] == (str(competition / "images/0048.png"),)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("images/{image}.png", "'{image}' is no column; did you mean 'image_id'?"),
        ("images/{image_id.__class__}.png", "'{image_id.__class__}' is no column"),
        ("images/{image_id!r}.png", "'{image_id!r}' is no column"),
        ("images/{image_id.png", "braces do not pair"),
        ("images/0000.png", "names no column"),
    ],
)
def test_templates_hold_plain_columns_only(competition: Path, template: str, message: str) -> None:
    found = defects(competition, f"data.image='{template}'")
    assert len(found) == 2 and all(message in line for line in found)  # the training and the test table


def test_every_defect_is_told_at_once(competition: Path) -> None:
    train = competition / "train.csv"
    swap(train, "0003,cross,g00", "0002,cross,g00")
    swap(train, "0005,square,g01", "0005,,g01")
    swap(train, "0007,disk,g01", ",disk,g01")
    swap(train, "0010,disk", "9999,disk")
    swap(competition / "test.csv", "0050", "0049")
    (competition / "images/0012.png").unlink()
    found = "\n".join(defects(competition))
    for expected in (
        "train.csv: line 5: id '0002' stands in line 4 already",
        "train.csv: line 7: label is blank",
        "train.csv: line 9: image_id is blank",
        "train.csv: line 12: images/9999.png: missing",
        "train.csv: line 14: images/0012.png: missing",
        "test.csv: line 4: id '0049' stands in line 3 already",
        "sample_submission.csv: is it the right sample? id '0050' is not in",
    ):
        assert expected in found


def test_missing_columns_come_with_the_nearest_name(competition: Path) -> None:
    found = "\n".join(
        defects(competition, "data.target=labels", "data.group=groop", "folds.stratify=site", "data.id=img_id")
    )
    assert "no column 'labels' (data.target); did you mean 'label'?" in found
    assert "no column 'groop' (data.group); did you mean 'group'?" in found
    assert "no column 'site' (folds.stratify); there are: image_id, label, group" in found
    assert found.count("no column 'img_id' (data.id); did you mean 'image_id'?") == 3


def test_missing_files_and_folders(competition: Path) -> None:
    (competition / "train.csv").rename(competition / "train_labels.csv")
    (competition / "test.csv").write_bytes(b"")
    (competition / "sample_submission.csv").write_bytes(b"\xff\xfeimage_id,label\n")
    first, second, third = sorted(defects(competition))
    assert "sample_submission.csv: not readable" in first
    assert "test.csv: not readable" in second
    assert "train.csv: data.train is missing; did you mean 'train_labels.csv'?" in third
    (only,) = defects(competition, "data.root=nowhere/digits")
    assert "nowhere/digits: data.root is no folder" in only and "foldline example digits" in only


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read, even by root")
def test_a_table_that_the_system_cannot_read_is_a_defect(competition: Path) -> None:
    (competition / "train.csv").unlink()
    (competition / "train.csv").symlink_to("/proc/self/mem")
    (line,) = defects(competition)
    assert "train.csv: not readable" in line and "Input/output error" in line


def test_an_unknown_ending_is_refused(competition: Path) -> None:
    (competition / "train.xlsx").write_bytes(b"PK")
    assert "is a .xlsx file, expected .csv" in "\n".join(defects(competition, "data.train=train.xlsx"))


def test_unknown_labels_name_the_classes(competition: Path) -> None:
    found = defects(competition, "data.classes=[disk, cross]")
    assert "line 4: label is 'square', expected one of disk, cross" in found[0]
    assert len(found) == 16


def test_the_class_order_can_be_given_and_unused_classes_are_noted(competition: Path) -> None:
    found = read(competition, "data.classes=[square, star, disk, cross]")
    assert found.classes == ("square", "star", "disk", "cross")
    assert found.notes == ("no training row has the class star",)


def test_classes_can_be_the_sample_s_columns(competition: Path) -> None:
    (competition / "sample_submission.csv").write_text(
        "image_id,star,a_disk,cross,square\n" + "".join(f"{i:04d},0,0,0,1\n" for i in range(48, 60))
    )
    renamed = "submission.columns={star: star, a_disk: disk, cross: cross, square: square}"
    found = read(competition, "data.classes=sample", renamed)
    assert found.classes == ("star", "disk", "cross", "square")
    assert found.targets_NC[:3].tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert "no training row has the class star" in found.notes
    (competition / "sample_submission.csv").write_text(
        "image_id,label\n" + "".join(f"{i:04d},disk\n" for i in range(48, 60))
    )
    assert "data.classes: sample: sample_submission.csv has 1 column to fill in, expected a column for each class" in (
        defects(competition, "data.classes=sample")
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.task=binary"], "a binary task has 2"),
        (["data.classes=[disk, disk, cross, square]"], "'disk' is named twice"),
    ],
)
def test_classes_must_fit_the_task(competition: Path, settings: list[str], message: str) -> None:
    assert message in defects(competition, *settings)[0]


def test_one_hot_rows_must_sum_to_one(competition: Path) -> None:
    rows = [f"{i:04d},{int(i % 2)},{1 - i % 2}" for i in range(48)]
    rows[3], rows[7], rows[9], rows[11] = "0003,1,1", "0007,0,0", "0009,x,1", "0011,.25,.75"
    (competition / "train.csv").write_text("\n".join(["image_id,cat,dog", *rows]))
    found = defects(competition, "data.target=[cat, dog]", "data.group=null")
    assert len(found) == 3
    assert {line.split("line ")[1].split(":")[0] for line in found} == {"5", "9", "11"}
    assert "sum to 2, expected 1" in "\n".join(found) and "cat is 'x'" in "\n".join(found)


def test_a_kind_of_defect_is_capped_and_counted(competition: Path) -> None:
    for path in (competition / "images").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    found = defects(competition)
    assert len(found) == SHOWN + 1 and "images/0000.png: missing" in found[0]
    assert found[-1] == f"… and {60 - SHOWN} more: missing or refused images"
    _, collected = survey(load_config([competition / "config.yaml"]))
    assert len(collected.problems()) == 60


def test_problems_that_one_remedy_mends_are_shown_three_times() -> None:
    collected = Findings()
    collected.add("a", [Problem(f"a{i}", "links", remedy="follow it") for i in range(9)])
    collected.add("a", [Problem("b", "links", remedy="copy it"), *(Problem(f"c{i}", "missing") for i in range(5))])
    assert [str(one) for one in collected.problems(SHOWN)] == [
        *(f"a{i}: links; follow it" for i in range(3)), "b: links; copy it", *(f"c{i}: missing" for i in range(5)),
        "… and 6 more: a",
    ]  # fmt: skip
    assert len(collected.problems()) == 15


def test_defects_of_one_kind_do_not_hide_another() -> None:
    collected = Findings()
    collected.add("a", [Problem(f"a{i // 2}", "wrong") for i in range(60)])  # each once
    collected.add("b", [Problem("b0", "wrong", "right", "mend it")])
    collected.add("c", [])
    assert list(map(str, collected.problems(2))) == [
        *("a0: wrong", "a1: wrong", "… and 28 more: a", "b0: wrong, expected right; mend it")
    ]


def test_paths_that_leave_the_root_are_refused(competition: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "more").mkdir(parents=True)
    for name in ("secret.png", "0001.png", "more/a.png"):
        (outside / name).write_bytes((competition / "images/0000.png").read_bytes())
    images = competition / "images"
    (images / "0001.png").unlink()
    (images / "0001.png").symlink_to(outside / "0001.png")
    (images / "0002.png").unlink()
    (images / "0002.png").symlink_to("0003.png")
    (images / "0004.png").unlink()
    (images / "0004.png").symlink_to(images / "nothing.png")
    (images / "linked").symlink_to(outside / "more")
    (images / "folder.png").mkdir()
    train = competition / "train.csv"
    swap(train, "0005,square", "../../outside/secret,square")
    swap(train, "0006,cross", f"{outside}/secret,cross")
    swap(train, "0007,disk", "linked/a,disk")
    swap(train, "0008,square", "folder,square")
    lines = "\n".join(defects(competition)).splitlines()
    assert len(lines) == 6
    text = "\n".join(lines)
    assert "line 3: images/0001.png: leaves data.root: it is a link to" in text
    assert "line 6: images/0004.png: is a link to nothing" in text
    assert "line 7: images/../../outside/secret.png: leaves data.root" in text
    assert "line 9: images/linked/a.png: leaves data.root: 'images/linked' is a link to" in text
    assert "line 10: images/folder.png: is no file" in text
    absolute = defects(competition, "data.image='{image_id}.png'", "data.test_image='images/{image_id}.png'")
    assert any(f"{outside}/secret.png: is absolute" in line for line in absolute)


def test_a_root_that_is_itself_a_link_is_fine(competition: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(competition)
    assert read(competition, f"data.root={tmp_path / 'link'}").images[0] == (str(tmp_path / "link/images/0000.png"),)


@pytest.mark.parametrize("mount", ["shapes", "competitions/shapes"])
def test_kaggle_mounts_are_found(
    competition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: str
) -> None:
    target = tmp_path / "kaggle/input" / mount
    target.parent.mkdir(parents=True)
    os.rename(competition, target)
    monkeypatch.setattr(data_root, "KAGGLE_INPUT", tmp_path / "kaggle/input")
    assert read(target, "data.root=data/shapes").images[0] == (str(target / "images/0000.png"),)


def test_a_test_image_that_is_a_training_image_is_a_defect(competition: Path) -> None:
    swap(competition / "test.csv", "0059", "0000")
    swap(competition / "sample_submission.csv", "0059", "0000")
    (line,) = defects(competition)
    assert line.startswith("data.image: 1 of 12 test images are training images") and "data.test_image" in line


def test_rows_without_a_group_are_groups_of_their_own(competition: Path) -> None:
    swap(competition / "train.csv", "0006,cross,g01", "0006,cross, ")
    swap(competition / "train.csv", "0007,disk,g01", "0007,disk,NaN")
    found = read(competition)
    assert found.groups is not None and found.groups[4:9].tolist() == ["g01", "g01", "row:0006", "row:0007", "g02"]
    assert any("2 rows have no group, first" in note and "line 8" in note for note in found.notes)


def test_the_sample_must_ask_for_the_test_rows(competition: Path) -> None:
    swap(competition / "sample_submission.csv", "0050,cross\n", "0500,cross\n")
    lacking, unknown = defects(competition)
    assert "no row for test id '0050'" in lacking and "id '0500' is not in" in unknown


def test_the_held_back_labels_are_not_needed(competition: Path) -> None:
    assert len(read(competition, "data.solution=solution.csv").ids) == 48
