"""Runs that learnt one target column each, composed into a prediction of the composite classes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.blending import stage as ensemble
from pipeline.config.config import Config
from pipeline.config.loading import dump, load
from pipeline.errors import InputError, MismatchError
from pipeline.files.atomic import write_text
from pipeline.files.tables import read_text_table
from pipeline.folds import fold_table
from pipeline.folds import stage as folds
from pipeline.prediction.predictions import Predictions

SHAPES, ROUND = ("cross", "disk", "square"), ("no", "yes")
TEST_IDS = np.asarray([f"{i:04d}" for i in range(48, 60)])


@pytest.fixture
def both(competition: Path) -> Config:
    """The competition with a second column; folds are made for both."""
    path = competition / "train.csv"
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], "round"])
        writer.writeheader()
        writer.writerows({**row, "round": ROUND[row["label"] == "disk"]} for row in rows)
    made = settled(
        competition,
        data={"target": ["label", "round"], "heads": True},
        submission={"composite": "{label}:{round}"},
        ensemble={"compose": {"label": "of-label", "round": "of-round"}},
        tta=["identity", "hflip"],
        run="both",
    )
    folds.run(made)
    return made


def settled(root: Path, **sections: Any) -> Config:
    overlay = root / f"{sections.get('run', 'overlay')}.yaml"
    overlay.write_text(yaml.safe_dump(sections))
    return load([root / "config.yaml", *([root / "both.yaml"] * (root / "both.yaml").is_file()), overlay])


def root_of(made: Config) -> Path:
    return Path(made.data.root)


def alone(made: Config, run: str, **data: Any) -> Config:
    """Return the config of a run of one column, as it is laid over that of both."""
    free = {"heads": False, **data}
    return settled(
        root_of(made), run=run, data=free, submission={"composite": None}, ensemble={"compose": None}, metric="accuracy"
    )


def write(made: Config, classes: tuple[str, ...], seed: int, heads: list[list[object]] | None = None) -> None:
    """Write a run's predictions, drawn from the seed: rows sum to 1, in each head."""
    table, rng = fold_table.read(made), np.random.default_rng(seed)
    sizes = [int(stop) - int(start) for _, start, stop in heads] if heads else [len(classes)]  # type: ignore[call-overload]
    write_text(made.run_dir / "config.yaml", dump(made))
    for fold in range(table.n):
        meta = {"run": made.run, "fold": fold, "fold_hash": table.fold_hash, "task": "multiclass", "heads": heads}
        for part, ids in (("valid", table.valid_ids(fold)), ("test", TEST_IDS)):
            drawn = [rng.dirichlet(np.ones(size), (len(ids), 2)) for size in sizes]
            probs_NVC = np.concatenate(drawn, axis=-1).astype(np.float32)
            Predictions(ids, ("identity", "hflip"), classes, probs_NVC, meta).save(
                made.run_dir / f"fold{fold}/{part}.npz"
            )


def stored(run_dir: Path, part: str) -> dict[str, np.ndarray]:
    """Return by id the mean over views and, of test rows, over folds."""
    found: dict[str, list[np.ndarray]] = {}
    for path in sorted(run_dir.glob(f"fold*/{part}.npz")):
        one = Predictions.load(path)
        for name, probs_VC in zip(one.ids.tolist(), one.probs_NVC.astype(np.float64), strict=True):
            found.setdefault(name, []).append(probs_VC.mean(0))
    return {name: np.mean(several, axis=0) for name, several in found.items()}


def blend(made: Config, file: str) -> dict[str, np.ndarray]:
    table = read_text_table(made.run_dir / file)
    names = [f"{shape}:{answer}" for shape in SHAPES for answer in ROUND]
    assert list(table.columns[-6:]) == names
    return dict(zip(table["id"], table[names].astype(float).to_numpy(), strict=True))


def test_the_columns_runs_are_multiplied_by_label(both: Config) -> None:
    shapes = ("square", "cross", "disk")  # another order than that of the folds' labels
    label = alone(both, "of-label", target="label", classes=list(shapes))
    round_ = alone(both, "of-round", target="round", task="binary")
    folds.run(label)  # folds of both columns serve each of them
    write(label, shapes, 1)
    write(round_, ROUND, 2)
    ensemble.run(both)
    for file, part in (("blend_oof.csv", "valid"), ("blend.csv", "test")):
        found = blend(both, file)
        ours, theirs = (stored(one.run_dir, part) for one in (label, round_))
        assert len(found) == len(ours) == (48 if part == "valid" else 12)
        for name, probs_C in found.items():
            wanted = np.outer([ours[name][shapes.index(shape)] for shape in SHAPES], theirs[name]).ravel()
            np.testing.assert_allclose(probs_C, wanted, atol=1e-6)
    report = json.loads((both.run_dir / "ensemble.json").read_text())
    assert report["members"] == ["label×round"]
    assert report["notes"] == [
        "label×round: the product of label of of-label, round of of-round, which count as independent"
    ]
    truth = {row["id"]: f"{row['label']}:{row['round']}" for row in read_text_table(both.folds_path).to_dict("records")}
    names = [f"{shape}:{answer}" for shape in SHAPES for answer in ROUND]
    right = [names[int(probs_C.argmax())] == truth[name] for name, probs_C in blend(both, "blend_oof.csv").items()]
    assert report["variants"]["tta"]["pooled"] == pytest.approx(np.mean(right))


def test_several_runs_of_a_column_are_averaged_and_a_head_may_come_from_a_run_of_heads(both: Config) -> None:
    heads = settled(root_of(both), run="heads", ensemble={"compose": None})
    names = tuple([f"label={shape}" for shape in SHAPES] + [f"round={answer}" for answer in ROUND])
    write(heads, names, 3, [["label", 0, 3], ["round", 3, 5]])
    for run, seed in (("one", 4), ("two", 5)):
        write(alone(both, run, target="label"), SHAPES, seed)
    asked = {"label": ["one", "two"], "round": "heads"}
    made = settled(root_of(both), run="mixed", ensemble={"compose": asked, "members": ["heads"]})
    ensemble.run(made)
    report = json.loads((made.run_dir / "ensemble.json").read_text())
    assert report["members"] == ["heads", "label×round"], "composed is one member beside the others"
    runs_dir = Path(made.runs_dir)
    one, two, head = (stored(runs_dir / name, "test") for name in ("one", "two", "heads"))
    per_view: dict[str, list[np.ndarray]] = {}  # a run of heads is multiplied before views and folds are averaged
    for path in sorted((runs_dir / "heads").glob("fold*/test.npz")):
        loaded = Predictions.load(path)
        for name, probs_VC in zip(loaded.ids.tolist(), loaded.probs_NVC.astype(np.float64), strict=True):
            per_view.setdefault(name, []).append(
                np.mean([np.outer(probs_C[:3], probs_C[3:]).ravel() for probs_C in probs_VC], axis=0)
            )
    for name, probs_C in blend(made, "blend.csv").items():
        composed = np.outer((one[name] + two[name]) / 2, head[name][3:]).ravel()
        np.testing.assert_allclose(probs_C, (composed + np.mean(per_view[name], axis=0)) / 2, atol=1e-6)


def test_what_cannot_be_composed_is_refused_all_at_once(both: Config) -> None:
    with pytest.raises(InputError, match=r"ensemble.compose.label: found 'of-label', expected a run in") as missing:
        ensemble.run(both)
    assert len(missing.value.lines) == 2
    write(alone(both, "of-label", target="round"), ROUND, 1)
    other = alone(both, "of-round", target="round")
    write(other, (*ROUND, "maybe"), 2)
    with pytest.raises(MismatchError) as unfit:
        ensemble.run(both)
    first, second = unfit.value.lines
    assert "of-label: learnt round; name a run whose data.target is label" in first
    assert "of-round: has the classes [no, yes, maybe]: has the unknown maybe, expected [no, yes]" in second
    write(alone(both, "of-label", target="label"), SHAPES, 1)
    write(other, ROUND, 2)
    path = other.run_dir / "fold1/valid.npz"
    old = Predictions.load(path)
    Predictions(old.ids, old.views, old.classes, old.probs_NVC, {**old.meta, "fold_hash": "0" * 64}).save(path)
    with pytest.raises(MismatchError, match=r"ensemble.compose.round: .*made on folds 000000000000"):
        ensemble.run(both)


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        (
            {"ensemble": {"compose": {"colour": "a"}}},
            "label, round, colour, expected one for each column of data.target",
        ),
        ({"data": {"target": "label", "heads": False}, "submission": {"composite": None}}, "compose: needs data.heads"),
        ({"ensemble": {"compose": {"label": [], "round": "b"}}}, "compose"),
    ],
)
def test_a_composition_without_sense_is_refused(both: Config, sections: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        settled(root_of(both), **sections)
