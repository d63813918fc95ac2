"""Hold a run as it is verified: its config, its stamps, the fold table, and the competition's data read anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import plugins
from pipeline.config import fingerprints, plugin_files, run_configs
from pipeline.config.config import Config
from pipeline.config.fingerprints import Stamp
from pipeline.config.keys import KEYS, affecting
from pipeline.config.keys import plugins as plugins_of_keys
from pipeline.config.loading import labels, parse
from pipeline.config.sections.section import Affects
from pipeline.config.trees import at, put
from pipeline.errors import Problem
from pipeline.methods.metrics import METRICS
from pipeline.plugins import file_of
from pipeline.verifying.findings import Findings

if TYPE_CHECKING:
    from pipeline.batches.inputs import Inputs
    from pipeline.folds.fold_table import FoldTable
    from pipeline.verifying.reading_anew import Reader

WRITTEN = {  # stage -> what it must have written
    "check": ("check.json",),
    "score": ("scores.json", "oof.csv", "test.csv"),
    "ensemble": (
        *("ensemble.json", "weights.json", "blend.csv", "blend_oof.csv", "submission.csv"),
        *(f"submissions/{name}.csv" for name in ("plain", "tta", "plain_smoothed", "tta_smoothed")),
    ),
    "report": ("report.html",),
    fingerprints.SETTINGS: (run_configs.TRAINED,),
}


@dataclass
class Run:
    """Hold what is known of a run's folder; None for what is not there or cannot be read."""

    folder: Path
    findings: Findings
    settings: tuple[str, ...] = ()
    called: str = ""  # the run's own name, whatever its folder is called now
    config: Config | None = None  # as it was last predicted with
    trained: Config | None = None
    stamps: dict[str, Stamp] | None = None
    table: FoldTable | None = None
    inputs: Inputs | None = None  # where the competition's data are there
    reader: Reader | None = None

    def place(self, name: str) -> Path:
        """Return a file of the run."""
        return self.folder / name

    def stamp(self, stage: str) -> Stamp | None:
        """Return a stage's stamp, None where there is none or it is damaged."""
        return (self.stamps or {}).get(stage)

    def is_blend(self) -> bool:
        """Tell whether the folder holds no fold, only what was blended of others."""
        return not any(self.folder.glob("fold*"))


def read_config(run: Run) -> None:
    """Read what the run was trained with, and what it was predicted with; the folder is wherever it lies now."""
    for path in run_configs.files(run.folder):
        with run.findings.reading(path):
            labels([path] if path.name == run_configs.TRAINED else run_configs.files(run.folder), run.settings)
            run.findings.ok(path)
    with run.findings.reading(run.place(run_configs.TRAINED)):
        here = {"runs_dir": str(run.folder.parent), "run": run.folder.name}
        trained = labels([run.place(run_configs.TRAINED)], run.settings)
        run.called, run.trained = trained.run_dir.name, trained.model_copy(update=here)
        run.config = run_configs.of_run(run.folder, run.settings).model_copy(update=here)


def read_stamps(run: Run) -> None:
    """Read every stamp, and compare the files that its stage wrote with the hashes in it."""
    found: dict[str, Stamp] = {}
    for path in sorted((run.folder / "stamps").glob("*.json")):
        with run.findings.reading(path):
            if (one := fingerprints.read_stamp(run.folder, path.stem)) is not None:
                found[path.stem] = one
    run.stamps = found
    hashed = any(one.written for one in found.values())
    for stage, names in WRITTEN.items():
        there = [name for name in names if run.place(name).is_file()]
        path = fingerprints.stamp_path(run.folder, stage)
        if stage not in found and there and not path.is_file() and (hashed or stage != fingerprints.SETTINGS):
            text = f"missing, though {there[0]} is there"
            run.findings.differs(path, [Problem(str(path), text, remedy=_remedy(stage))])
    for stage, one in found.items():
        path = fingerprints.stamp_path(run.folder, stage)
        lacks = [name for name in WRITTEN.get(stage, ()) if name not in one.written]
        if (lacks or stage.startswith("train-fold")) and (not one.written or stage == fingerprints.SETTINGS):
            run.findings.not_there(path, "hashes of what it wrote, as in runs of earlier versions")
            lacks = []
        problems = [
            Problem(problem.place, problem.found, remedy=_remedy(stage))
            for problem in fingerprints.altered(run.folder, stage, one)
        ]
        problems += [Problem(str(path), f"has no hash of {name}", remedy=_remedy(stage)) for name in lacks]
        wrong = {problem.place: problem for problem in problems}
        for name in one.written:
            place = str(run.place(name))
            run.findings.judge(place, [wrong.pop(place)] if place in wrong else [], f"as {stage} wrote it")
        for place, problem in wrong.items():
            run.findings.differs(place, [problem])


def _remedy(stage: str) -> str:
    """Return how to make a stage's files anew."""
    if stage == "held-back":
        return "run again: foldline run"
    if stage == fingerprints.SETTINGS:
        return "restore it, or run: foldline train"
    if stage.startswith("train-fold"):
        return f"restore it, or run: foldline train --fold {stage.removeprefix('train-fold')} --force"
    return f"run again: foldline {stage}"


def as_stamped(config: Config, stamp: Stamp | None, results: Affects) -> tuple[Config, list[str]]:
    """Return the config with the settings that a stage was done with, and a line for each that is another.

    `score` and `ensemble` may have been asked for other settings than those of config.yaml; their stamps say which.
    """
    if stamp is None:
        return config, []
    tree, changes = config.model_dump(mode="json"), list[str]()
    for name in affecting(results):
        own, now = _of(name, stamp.fields), _of(name, fingerprints.fields(config, [name]))
        if own == now:
            continue
        if own or KEYS[name].later:
            value: Any = own[name] if name in own else {key.removeprefix(f"{name}."): one for key, one in own.items()}
            put(tree, name, value if own else KEYS[name].default)
            changes.append(f"{name}={value if own else KEYS[name].default}")
    return (parse(tree, "stamps", found=False) if changes else config), changes


def with_code(run: Run, config: Config) -> tuple[Config, dict[str, str]]:
    """Return the config with the run's own copies of the user's functions, and how each is called in its files.

    They run only where they are trusted; else the config is returned as it is, and whatever needs them is refused.
    Views stay as predictions call them.
    """
    if not plugins.trusted():
        return config, {}
    tree, names = config.model_dump(mode="json"), dict[str, str]()

    def copied(name: Any) -> Any:
        file = plugin_files.kept(name, run.folder) if isinstance(name, str) else None
        if file is None:
            return name
        now = name if plugin_files.is_kept(name, run.folder) else f"{file}:{name.rpartition(':')[2]}"
        names[now] = name
        return now

    for key in plugins_of_keys():
        if key != "tta":
            value = at(tree, key)
            put(tree, key, [copied(one) for one in value] if isinstance(value, list) else copied(value))
    plugins.ask(names)
    return parse(tree, str(run.folder), found=False), names


def to_read(config: Config) -> Config:
    """Return the config to read the data by: where its metric is code, which need not run for that, another one."""
    if file_of(config.metric) is None:
        return config
    usual = next(name for name, one in METRICS.items() if config.data.task in one.usual)
    return config.model_copy(update={"metric": usual})


def files_of_code(run: Run, config: Config, results: Affects) -> fingerprints.Fields:
    """Return the hashes of the user's files as the run's own copies have them."""
    found = fingerprints.fields(config, affecting(results), run.folder)
    return {key: value for key, value in found.items() if key.endswith("'s file")}


def renamed(tree: Any, names: Mapping[str, str]) -> Any:
    """Return a tree of plain values in which what is called otherwise has its own name, also before `/` and `: `."""
    if isinstance(tree, dict):
        return {renamed(key, names): renamed(value, names) for key, value in tree.items()}
    if isinstance(tree, list):
        return [renamed(value, names) for value in tree]
    if isinstance(tree, str):
        for now, own in names.items():
            if tree == now or tree.startswith((f"{now}/", f"{now}: ")):
                return own + tree[len(now) :]
    return tree


def _of(name: str, fields: fingerprints.Fields) -> fingerprints.Fields:
    return {key: value for key, value in fields.items() if key == name or key.startswith(f"{name}.")}


def is_key(name: str) -> bool:
    """Tell whether a stamp's field is a key of the config, or one inside it."""
    return name in KEYS or any(name.startswith(f"{key}.") for key in KEYS)


def plain(fields: fingerprints.Fields) -> fingerprints.Fields:
    """Return fields as a stamp gives them back."""
    made: fingerprints.Fields = json.loads(json.dumps(fields))
    return made
