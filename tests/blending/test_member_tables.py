"""What a teammate's tables may look like: read as what they are and said, or refused with all that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from synthetic import CLASSES, TEST_IDS, make_config, make_folds, make_run, make_sample, pets

from pipeline.blending import member_tables
from pipeline.blending import stage as ensemble
from pipeline.blending.member import Member
from pipeline.config.config import Config
from pipeline.errors import FoldlineError, MismatchError, Refused
from pipeline.files import prediction_tables
from pipeline.files.atomic import read_json
from pipeline.files.tables import FIXED, read_text_table, write_table
from pipeline.folds.fold_table import FoldTable
from pipeline.prediction import class_order
from pipeline.prediction.predictions import Predictions

Change = Callable[[pd.DataFrame], pd.DataFrame]


class Made(NamedTuple):
    """Hold a competition and what a teammate predicts for it, by class in the task's order."""

    config: Config
    table: FoldTable
    oof: pd.DataFrame
    test: pd.DataFrame


def make(folder: Path, targets: pd.DataFrame, classes: tuple[str, ...], **changes: Any) -> Made:
    config = make_config(folder, run="blend", **changes)
    make_sample(config)
    table, rng = make_folds(config, targets), np.random.default_rng(0)
    parts = [pd.DataFrame(rng.dirichlet(np.ones(len(classes)), n), columns=list(classes)) for n in (len(targets), 5)]
    return Made(config, table, *parts)


def write(made: Made, folder: Path, oof: Change = lambda t: t, test: Change = lambda t: t, **csv: Any) -> Path:
    """Write oof.csv and test.csv, each changed as told."""
    folder.mkdir(exist_ok=True)
    first = pd.DataFrame({"id": made.table.ids, "fold": made.table.fold})
    asked = {"index": False, **csv}
    oof(pd.concat([first, made.oof], axis=1)).to_csv(folder / "oof.csv", **asked)
    test(pd.concat([pd.DataFrame({"id": TEST_IDS}), made.test], axis=1)).to_csv(folder / "test.csv", **asked)
    return folder


def read(made: Made, folder: Path, sums: bool = True) -> Member:
    classes = class_order.blended(made.config, made.table)
    return member_tables.read("mate", folder, made.config, made.table, classes, sums)


def refused(made: Made, folder: Path) -> list[str]:
    with pytest.raises(MismatchError) as error:
        read(made, folder)
    return [line.replace(f"{folder}/", "") for line in error.value.lines]


def assert_right(made: Made, found: Member, atol: float = 1e-12) -> None:
    """Hold that the member is what the teammate meant."""
    assert found.classes == tuple(made.oof.columns)
    assert found.ids.tolist() == made.table.ids.tolist() and found.test_ids.tolist() == TEST_IDS.tolist()
    assert found.fold_N.tolist() == made.table.fold.tolist()
    for kind in ("plain", "tta"):
        np.testing.assert_allclose(found.oof[kind], made.oof, atol=atol)
        np.testing.assert_allclose(found.test[kind], made.test, atol=atol)


@pytest.fixture
def three(tmp_path: Path) -> Made:
    return make(tmp_path, pets(), CLASSES)


def binary(folder: Path, labels: str = "01", **changes: Any) -> Made:
    """Return one of two classes whose teammate knows the truth a little."""
    rows = pd.DataFrame({"label": [labels[n // 3 % 2] for n in range(60)]}).replace({"n": "no", "y": "yes"})
    made = make(folder, rows, tuple(sorted(rows["label"].unique())), data__task="binary", **changes)
    right_N = (rows["label"] == made.oof.columns[1]).to_numpy()
    positive = 0.2 + 0.4 * right_N + 0.2 * made.oof.to_numpy()[:, 1]
    return made._replace(oof=made.oof.assign(**dict(zip(made.oof.columns, (1 - positive, positive), strict=True))))


def fold_of(numbers: list[object]) -> Change:
    return lambda table: table.assign(fold=[numbers[k] for k in table["fold"]])


@pytest.mark.parametrize(
    ("numbers", "note"),
    [
        ([0, 1, 2], None),
        ([1, 2, 3], "mate: oof.csv: the same folds, numbered otherwise (1 is 0, 2 is 1, 3 is 2)"),
        ([2, 0, 1], "mate: oof.csv: the same folds, numbered otherwise (0 is 1, 1 is 2, 2 is 0)"),
        (["0.0", "1.0", "2.0"], None),
        (["a", "b", "c"], "mate: oof.csv: the same folds, numbered otherwise (a is 0, b is 1, c is 2)"),
    ],
)
def test_the_partition_counts_and_not_its_numbers(
    three: Made, tmp_path: Path, numbers: list[object], note: str | None
) -> None:
    found = read(three, write(three, tmp_path / "mate", oof=fold_of(numbers)))
    assert_right(three, found)
    assert found.notes == (() if note is None else (note,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (fold_of([0, 0, 1]), "ids '0000' and '0001' are in its folds 0 and 0, there in 0 and 1"),
        (
            lambda oof: oof.assign(fold=[n % 6 for n in range(30)]),
            "ids '0000' and '0003' are in its folds 0 and 3, there in 0 and 0",
        ),
        (lambda oof: oof.assign(fold=[0, *oof["fold"][:-1]]), "ids '0000' and '0001' are in its folds 0 and 0, there"),
    ],
)
def test_another_partition_is_refused_with_an_example(three: Made, tmp_path: Path, change: Change, words: str) -> None:
    (line,) = refused(three, write(three, tmp_path / "mate", oof=change))
    assert line.startswith("oof.csv: made on folds ") and words in line
    assert line.endswith(f"make the member on the folds of {three.table.path}")


def test_a_blank_fold_is_told_by_its_line(three: Made, tmp_path: Path) -> None:
    folder = write(three, tmp_path / "mate", oof=lambda oof: oof.assign(fold=["", *oof["fold"][1:].astype(str)]))
    assert refused(three, folder) == [
        "oof.csv: line 2, column fold: blank for id '0000', as in 1 rows, expected a fold"
    ]


def test_rows_of_another_order_are_joined_by_id(three: Made, tmp_path: Path) -> None:
    def turned(table: pd.DataFrame) -> pd.DataFrame:
        return table.sample(frac=1, random_state=1)

    assert_right(three, read(three, write(three, tmp_path / "mate", turned, turned)))


def test_an_index_is_passed_over_and_said(three: Made, tmp_path: Path) -> None:
    found = read(three, write(three, tmp_path / "mate", index=True))
    assert_right(three, found)
    texts = "the column without a name is passed over, as an index"
    assert found.notes == (f"mate: oof.csv: {texts}", f"mate: test.csv: {texts}")
    named = write(three, tmp_path / "mate", index=True, index_label="Unnamed: 0")
    assert read(three, named).notes == found.notes


def test_ids_may_be_the_index(three: Made, tmp_path: Path) -> None:
    folder = write(three, tmp_path / "mate", lambda t: t.set_index("id"), lambda t: t.set_index("id"), index=True)
    for name in ("oof.csv", "test.csv"):
        (folder / name).write_text((folder / name).read_text().removeprefix("id"))
    found = read(three, folder)
    assert_right(three, found)
    assert "mate: oof.csv: the ids are read from the column without a name" in found.notes


@pytest.mark.parametrize("title", ["id", "image_id", "Image_ID", "ID"])
def test_the_ids_are_called_id_or_as_in_the_config(tmp_path: Path, title: str) -> None:
    made = make(tmp_path, pets(), CLASSES, data__id="image_id", data__image="{image_id}.png")
    named = {"columns": {"id": title}}
    folder = write(made, tmp_path / "mate", lambda t: t.rename(**named), lambda t: t.rename(**named))
    assert_right(made, read(made, folder))


def test_of_two_columns_of_ids_that_which_holds_them_is_read(tmp_path: Path) -> None:
    made = make(tmp_path, pets(), CLASSES, data__id="image_id", data__image="{image_id}.png")

    def both(table: pd.DataFrame) -> pd.DataFrame:
        return table.rename(columns={"id": "image_id"}).assign(id=range(len(table)))

    found = read(made, write(made, tmp_path / "mate", both, both))
    assert_right(made, found)
    assert "mate: test.csv: the column id is passed over, the ids are those of image_id" in found.notes


def test_truth_under_the_target_s_name_is_passed_over(three: Made, tmp_path: Path) -> None:
    folder = write(three, tmp_path / "mate", oof=lambda oof: oof.assign(label=three.table.targets["label"]))
    found = read(three, folder)
    assert_right(three, found)
    assert found.notes == ("mate: oof.csv: the column label is passed over: truth is the fold table's",)


@pytest.mark.parametrize("change", [lambda t: t.rename(columns=lambda c: f" {c} "), lambda t: t])
def test_classes_that_differ_in_form_alone(tmp_path: Path, change: Change) -> None:
    """As a table of numbers is written after a merge, or by hand: 1.0 is 1, and blanks around a name are none of it."""
    targets = pd.DataFrame({"label": [str(n // 3 % 3 + 9) for n in range(30)]})
    made = make(tmp_path, targets, ("9", "10", "11"))
    floats = {"columns": {"9": "9.0", "10": "10.0", "11": "011"}}
    folder = write(made, tmp_path / "mate", lambda t: change(t.rename(**floats)), change)
    found = read(made, folder)
    assert_right(made, found)
    assert found.notes == ("mate: oof.csv: '9.0' is read as the class '9', and 2 more whose form differs alike",)


@pytest.mark.parametrize(
    ("found", "classes", "places"),
    [
        (["1", "01", "2"], ["01", "1", "2"], [1, 0, 2]),
        (["2.0", "a ", "1e3"], ["a", "2", "1e3"], [1, 0, 2]),
        (["x= 1.0", "x=0", "y=b"], ["x=0", "x=1", "y=b"], [1, 0, 2]),
        (["-0", "+1.50"], ["0", "1.5"], [0, 1]),
    ],
)
def test_names_of_one_form_are_not_mixed_up(found: list[str], classes: list[str], places: list[int]) -> None:
    assert class_order.places(found, classes)[0] == places


@pytest.mark.parametrize(
    ("found", "classes", "words"),
    [
        (["1", "1.0", "2"], ["01", "1", "2"], "lacks 01, has the unknown 1.0"),
        (["1.0", "01"], ["1", "2"], "lacks 1, 2, has the unknown 1.0, 01"),
        (["a", "a", "b"], ["a", "b"], "has twice a"),
        (["A", "b"], ["a", "b"], "lacks a, has the unknown A"),
    ],
)
def test_names_that_could_be_two_are_refused(found: list[str], classes: list[str], words: str) -> None:
    with pytest.raises(Refused, match=f": {words}, expected") as error:
        class_order.places(found, classes)
    assert str(error.value).endswith("of the config and its folds, in any order; " + class_order.RENAME)


@pytest.mark.parametrize("names", [("fold", "id", "target"), ("target", "fold", "top1")])
def test_classes_called_like_our_own_columns(tmp_path: Path, names: tuple[str, ...]) -> None:
    classes = tuple(sorted(names))
    made = make(tmp_path, pets().replace(dict(zip(CLASSES, classes, strict=True))), classes)
    folder = tmp_path / "mate"
    folder.mkdir()
    order = [classes[2], classes[0], classes[1]]
    for name, first, probs in (
        ("oof.csv", {"id": made.table.ids, "fold": made.table.fold}, made.oof),
        ("test.csv", {"id": TEST_IDS}, made.test),
    ):
        cells = pd.concat([pd.DataFrame(first), probs[order]], axis=1)
        cells.to_csv(folder / name, index=False)  # titles stand twice
    assert_right(made, read(made, folder))
    for name, first, probs in (
        ("oof.csv", [made.table.ids, made.table.fold, np.full(30, "truth")], made.oof),
        ("test.csv", [TEST_IDS], made.test),
    ):
        write_table(folder / name, prediction_tables.table(first, FIXED[: len(first)], probs.to_numpy(), classes))
    assert_right(made, read(made, folder))


def test_cells_a_little_beside_0_to_1_are_clipped_and_sums_scaled(three: Made, tmp_path: Path) -> None:
    def spoiled(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[0, list(CLASSES)] = [1.0000001, -0.0000001, 0.0]
        table.loc[1, list(CLASSES)] = [1.0001, -0.0001, 0.0]
        table.loc[2, list(CLASSES)] = [0.3335, 0.3335, 0.3335]
        return table

    found = read(three, write(three, tmp_path / "mate", oof=spoiled))
    np.testing.assert_allclose(found.oof["tta"][:3], [[1, 0, 0], [1, 0, 0], [1 / 3] * 3], atol=1e-12)
    np.testing.assert_allclose(found.oof["tta"][3:], three.oof[3:], atol=1e-12)
    assert found.notes == (
        "mate: oof.csv: 4 cells beyond [0, 1] by at most 1e-04 are clipped",
        "mate: oof.csv: 1 rows off a sum of 1 by at most 0.0005 are scaled",
    )


def test_what_is_wrong_with_both_tables_is_told_in_one_go(three: Made, tmp_path: Path) -> None:
    def oof(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype({name: object for name in CLASSES})
        table.loc[3, "dog"], table.loc[4, "eel"], table.loc[5, "cat"] = "nan", "", "0,5"
        table.loc[6, "cat"], table.loc[7, "dog"] = 1.5, 0.9
        return table.assign(fold=[0, *table["fold"][:-1]])

    folder = write(three, tmp_path / "mate", oof, lambda test: test.drop(columns="id").rename(columns={"eel": "ell"}))
    found = refused(three, folder)
    assert found[:3] == [
        "oof.csv: line 5, column dog: 'nan' for id '0003', expected a probability",
        "oof.csv: line 6, column eel: '' for id '0004', expected a probability",
        "oof.csv: line 7, column cat: '0,5' for id '0005', expected a probability",
    ]
    assert found[3].startswith(
        "oof.csv: 1 rows hold no probabilities in [0, 1] (first line 8, column cat: 1.5, id '0006')"
    )
    assert found[4].startswith("oof.csv: 1 rows do not sum to 1 (first line 9: ")
    assert found[5].startswith("oof.csv: made on folds")
    assert found[6] == "test.csv: lacks the column id, has cat, dog, ell; call the ids so"
    assert "test.csv: has the classes [cat, dog, ell]: lacks eel, has the unknown ell" in found[7]
    assert len(found) == 8


def test_of_many_cells_without_a_number_the_first_are_listed(three: Made, tmp_path: Path) -> None:
    found = refused(three, write(three, tmp_path / "mate", test=lambda test: test.assign(cat="inf", dog="")))
    assert len(found) == 6 and found[0] == "test.csv: line 2, column cat: 'inf' for id '0900', expected a probability"
    assert found[-1] == "test.csv: … and 5 more cells that hold no number"


def test_ids_that_lost_their_zeros_are_told(three: Made, tmp_path: Path) -> None:
    found = refused(three, write(three, tmp_path / "mate", lambda oof: oof.assign(id=range(len(oof)))))
    said = f"ids are texts, and those of {three.table.path}"
    assert found[0] == f"oof.csv: lacks 30 ids that are in the fold table (first '0000'); {said}"


def test_defects_of_all_members_are_told_in_one_go(three: Made, tmp_path: Path) -> None:
    run = three.config.model_copy(update={"run": "run"})
    make_run(run, three.table, np.eye(3)[[CLASSES.index(label) for label in pets()["label"]]])
    path = run.run_dir / "fold1/valid.npz"
    good = Predictions.load(path)
    holes_NVC = good.probs_NVC.copy()
    holes_NVC[4, 1, 2] = holes_NVC[4, 1, 0] = holes_NVC[6, 0, 1] = np.nan
    with path.open("wb") as stream:  # as another tool writes them: our own refuses to
        parts = {"ids": good.ids, "views": good.views, "classes": good.classes, "meta": '{"fold_hash": ""}'}
        np.savez(stream, probs=holes_NVC, **parts)
    asked = three.config.ensemble.model_copy(
        update={
            "members": [
                "run",
                str(write(three, tmp_path / "one", lambda oof: oof.drop(columns="cat"))),
                str(write(three, tmp_path / "two", test=lambda test: test.assign(dog=np.nan))),
            ]
        }
    )
    with pytest.raises(FoldlineError) as error:
        ensemble.run(three.config.model_copy(update={"ensemble": asked}))
    assert error.value.exit_code == 3
    found = error.value.lines
    assert found[0].startswith(
        f"{path}: predictions hold NaN or infinity in 3 cells of 2 ids "
        f"(first: id '{good.ids[4]}', view hflip, class cat); "
    )
    assert f"{tmp_path}/one/oof.csv: has the classes [dog, eel]: lacks cat, expected [cat, dog, eel]" in found[1]
    assert found[2] == f"{tmp_path}/two/test.csv: line 2, column dog: '' for id '0900', expected a probability"
    assert not three.config.run_dir.exists()


def single(title: str, of: int = 1) -> Change:
    """Return a change to one column, the probability of one of the two classes."""
    return lambda table: table.drop(columns=list(table.columns[-2:])).assign(**{title: table[table.columns[of - 2]]})


@pytest.mark.parametrize(
    ("labels", "title", "of", "read_as"),
    [
        ("01", "1", 1, "1"),
        ("01", "1.0", 1, "1"),
        ("01", "0", 0, "0"),
        ("ab", "b", 1, "b"),
        ("ab", "a", 0, "a"),
        ("01", "label", 1, "1"),
        ("01", "prediction", 1, "1"),
        ("01", "Prob", 1, "1"),
        ("01", "target", 1, "1"),
        ("ny", "prediction", 1, "yes"),
    ],
)
def test_one_column_of_probabilities_serves_a_binary_task(
    tmp_path: Path, labels: str, title: str, of: int, read_as: str
) -> None:
    made = binary(tmp_path, labels)
    found = read(made, write(made, tmp_path / "mate", single(title, of), single(title, of)))
    assert_right(made, found)
    assert f"mate: test.csv: the column {title} is read as the probability of '{read_as}'" in found.notes


def test_one_column_beside_the_truth(tmp_path: Path) -> None:
    made = binary(tmp_path)
    folder = write(
        made,
        tmp_path / "mate",
        lambda oof: single("prediction")(oof).assign(label=made.table.targets["label"]),
        single("label"),
    )
    assert_right(made, read(made, folder))


def test_with_named_classes_one_column_must_say_which_it_is_of(tmp_path: Path) -> None:
    made = binary(tmp_path, "ab")
    found = refused(made, write(made, tmp_path / "mate", single("prediction"), single("label")))
    assert found == [
        f"{name}: the column {title} does not say of which class it is the probability; "
        "call it a or b, or write one column for each"
        for name, title in (("oof.csv", "prediction"), ("test.csv", "label"))
    ]
    given = binary(tmp_path / "given", "ab", data__classes=["a", "b"])
    assert_right(given, read(given, write(given, tmp_path / "mate", single("prediction"), single("label"))))


def test_one_column_that_ranks_the_other_class_first_is_refused(tmp_path: Path) -> None:
    made = binary(tmp_path)
    (line,) = refused(made, write(made, tmp_path / "mate", single("prediction", 0), single("prediction", 0)))
    assert line == (
        "oof.csv: the column prediction, read as the probability of '1', ranks '0' first (AUC 0.000); "
        "call it 0 if it is the probability of that, else find the error"
    )


def test_labels_are_no_probabilities(tmp_path: Path) -> None:
    made = binary(tmp_path)
    folder = write(
        made,
        tmp_path / "mate",
        lambda oof: single("label")(oof).assign(label=made.table.targets["label"]),
        single("label"),
    )
    (line,) = refused(made, folder)
    assert line.startswith("oof.csv: the column label holds labels, which may be the truth, expected the probability")


def test_three_classes_are_not_read_from_one_column(three: Made, tmp_path: Path) -> None:
    found = refused(three, write(three, tmp_path / "mate", single("prediction"), single("prediction")))
    assert len(found) == 2 and all("lacks" in line and "has the unknown" in line for line in found)


def test_values_of_one_target_are_those_of_the_only_column(tmp_path: Path) -> None:
    targets = pd.DataFrame({"size": [str(n) for n in range(30)]})
    changes = {"data__task": "regression", "data__target": "size", "loss__name": "mse", "metric": "rmse"}
    made = make(tmp_path, targets, ("size",), **changes)
    made = made._replace(oof=made.oof * 30 - 7, test=made.test * 30)
    named = {"columns": {"size": "prediction"}}
    found = read(made, write(made, tmp_path / "mate", lambda t: t.rename(**named), lambda t: t))
    assert_right(made, found)
    assert found.notes == ("mate: oof.csv: the column prediction is read as size",)
    (line,) = refused(
        made, write(made, tmp_path / "mate", lambda oof: oof.assign(size=oof["size"].where(oof.index > 0)))
    )
    assert line == "oof.csv: line 2, column size: '' for id '0000', expected a number"


def test_tables_as_other_programs_write_them(three: Made, tmp_path: Path) -> None:
    assert_right(three, read(three, write(three, tmp_path / "mate", sep=";", encoding="utf-8-sig")))
    found = read(three, write(three, tmp_path / "mate", sep="\t", encoding="utf-16"))
    assert_right(three, found)
    assert found.notes[:2] == (
        "mate: oof.csv: it is UTF-16, and read as that",
        "mate: oof.csv: its cells are separated by '\\t'",
    )
    folder = write(three, tmp_path / "mate", lambda oof: oof.assign(cat=oof["cat"].where(oof.index != 4)))
    lines = (folder / "oof.csv").read_text().splitlines()
    (folder / "oof.csv").write_text("\n".join([*lines[:3], ",,,,", "", *lines[3:], "", ""]))
    assert refused(three, folder) == ["oof.csv: line 8, column cat: '' for id '0004', expected a probability"]


def test_what_was_mended_is_printed_and_kept(three: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(write(three, tmp_path / "mate", oof=fold_of([1, 2, 3])))
    asked = three.config.ensemble.model_copy(update={"members": [folder]})
    config = three.config.model_copy(update={"ensemble": asked})
    note = f"{folder}: oof.csv: the same folds, numbered otherwise (1 is 0, 2 is 1, 3 is 2)"
    for _ in range(2):  # and again where everything is done already
        ensemble.run(config)
        assert note in capsys.readouterr().out.splitlines()
    assert read_json(config.run_dir / "ensemble.json")["notes"] == [note]
    assert read_text_table(config.run_dir / "blend_oof.csv").columns.tolist() == ["id", *CLASSES]
