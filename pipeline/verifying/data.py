"""Verify the fold table and the competition's data: tables by their hashes, every image by its content."""

from __future__ import annotations

from pathlib import Path

from pipeline.batches import fold_rows
from pipeline.batches.inputs import Inputs
from pipeline.checking import stage as check
from pipeline.competition.competition import Competition
from pipeline.competition.data_root import find_root
from pipeline.config.config import Config
from pipeline.config.sections.section import Affects
from pipeline.errors import Problem
from pipeline.folds import fold_table
from pipeline.images import verifying
from pipeline.images.cache import lacking, open_config
from pipeline.verifying.reading_anew import Reader
from pipeline.verifying.run_files import Run, as_stamped, plain, to_read


def folds(run: Run, config: Config) -> None:
    """Read the fold table, which compares it with its report's hashes."""
    path = config.folds_path
    if not path.is_file():
        run.findings.not_there(path, "the fold table, without which scores cannot be computed again")
        return
    with run.findings.reading(path):
        table = fold_table.read(config)
        report = fold_table.read_report(config)
        if report is None:
            run.findings.not_there(path.with_suffix(".json"), "the fold table's hashes")
        run.findings.ok(path, f"{len(table.ids):,} ids in {table.n} folds" + ("" if report is None else ", hashes"))
        run.table = table


def read(run: Run, config: Config) -> None:
    """Read the competition's tables and every image anew; compare them with the fold table and the last check."""
    root = find_root(config.data.root)
    if root is None:
        run.findings.not_there(config.data.root, "the competition's data")
        return
    reader = run.reader = run.reader or Reader()
    inputs = run.inputs = run.inputs or Inputs(reader.open)
    with run.findings.reading(root):
        competition = inputs.competition(to_read(config))
        run.findings.ok(root, f"{len(competition.ids):,} rows, {reader.count:,} images read")
        if run.table is not None:
            with run.findings.reading(run.table.path):
                fold_table.verify(run.table, competition)
                run.findings.ok(run.table.path, "ids, labels and groups of the training table")
        _checked(run, config, root)
        _cache(to_read(config), competition, run)
        return
    run.inputs = None  # what is built on them would say the same again


def _checked(run: Run, config: Config, root: Path) -> None:
    """Compare tables and images with what the last check saw."""
    stamp, path = run.stamp("check"), run.place("check.json")
    if stamp is None or run.inputs is None:
        return
    asked, _ = as_stamped(config, stamp, Affects.ROWS | Affects.IMAGES | Affects.FOLDS | Affects.CHECK)
    specs, problems = check.tables_of(asked), list[Problem]()
    now = plain(check.table_hashes(asked))
    for key in now:
        if stamp.fields.get(key) != now[key]:
            found = f"not as it was when {path} was made"
            problems.append(Problem(str(root / str(specs[key])), found, remedy="restore it, or run: foldline check"))
    if " " in str(seen := stamp.fields.get("images", "")) and seen != "not opened":  # earlier versions kept no digests
        asked = to_read(asked)
        competition = run.inputs.competition(asked)
        train = run.inputs.training_images(asked).digest(fold_rows.names(competition))
        test = run.inputs.test_images(asked).digest(competition.test_image_ids)
        if seen != f"{train} {test}":
            changed = run.reader.changed if run.reader is not None else []
            for one in changed or [root / "images"]:
                found = f"not as it was when {path} was made"
                problems.append(Problem(str(one), found, remedy="restore it, or run: foldline check"))
    for problem in problems:
        run.findings.differs(problem.place, [problem])
    if not problems:
        run.findings.ok(path, "made from the tables and images that are there")


def _cache(config: Config, competition: Competition, run: Run) -> None:
    """Compare what the cache holds of these images with the hashes kept when they were decoded."""
    every = [*fold_rows.sources(competition), *competition.test_images]
    unknown = set(lacking(config, every))
    known = [source for source in every if source and source not in unknown]
    if config.data.cache.dir is None or not known:
        return
    images = open_config(config, known, progress=False)
    wrong_A, _ = verifying.differing(images)
    place, problems = str(images.store.folder), list[Problem]()
    if len(wrong_A):
        first = ", ".join(known[int(wrong_A[0])])
        found = f"{len(wrong_A)} of {len(known)} images are not as they were decoded (first {first})"
        problems.append(Problem(place, found, remedy="the next train or predict decodes them again"))
    run.findings.judge(place, problems, f"{len(known):,} images as they were decoded")
