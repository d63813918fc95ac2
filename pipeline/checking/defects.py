"""Find every defect of config, tables, fold table and images in one go, and say what one defect hides of the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from pipeline.batches.seen import unopened
from pipeline.competition.competition import Competition, survey
from pipeline.competition.rows.rows import Findings
from pipeline.config.keys import KEYS, affecting
from pipeline.config.sections.section import Affects
from pipeline.errors import FoldlineError, Problem
from pipeline.folds import stage as folds
from pipeline.images.cache import decode_config, open_config

if TYPE_CHECKING:
    from pipeline.batches.inputs import Inputs
    from pipeline.config.config import Config
    from pipeline.config.wrong_keys import Looked
    from pipeline.images.cache import ImageSet

T = TypeVar("T")
FOLDS, IMAGES, SETTINGS = "fold table", "images", "settings"  # kinds of problems
BY_PLACE = ("bad labels", "bad weights")  # what is expected there depends on the task, that it is wrong does not
READ = Affects.ROWS | Affects.IMAGES | Affects.FOLDS | Affects.CHECK | Affects.SCORE | Affects.SUBMISSION


def find(config: Config, inputs: Inputs | None, looked: Looked | None = None) -> tuple[Competition | None, Findings]:
    """Return the competition, as its images tell it, and all problems; None where there are any.

    Without `inputs` neither images nor names of models and transforms are looked at.
    Where keys of the config are wrong, `looked` holds what may have been meant: only what is wrong with all of those
    is told.
    """
    problems = [] if looked is None else looked.problems
    competition, findings = survey(config)
    for other in _different(config, looked, READ):
        _keep_common(findings, survey(other)[1])
    if looked is not None and (names := sorted(looked.unsure & set(affecting(Affects.ROWS)))):
        findings.unseen.append(f"what depends on {', '.join(names)}")
    findings.add("config", problems)
    if inputs is not None:
        from pipeline.checking import preflight  # it imports torch

        findings.add(SETTINGS, _common(preflight.problems, config, looked))
    whole = competition is not None and not problems
    if whole and competition is not None:
        competition = _seen(config, competition, findings, inputs)
    elif inputs is not None:
        findings.add(IMAGES, _unreadable(config, findings.images, looked))
    if looked is not None:
        known = competition if whole else None
        findings.add(FOLDS, _common(lambda one: folds.problems(one, known), config, looked))
        if known is None and config.folds_path.is_file():
            findings.unseen.append(f"whether {config.folds_path} fits the data")
    return None if findings.kinds else competition, findings


def open_all(config: Config, inputs: Inputs) -> tuple[ImageSet, ImageSet]:
    """Open every image at each size that it is wanted at, so that all unreadable ones are told together."""
    sizes = config.data.cache.dir is not None  # without a cache one decoding tells of every size
    return inputs.training_images(config, sizes), inputs.test_images(config)


def _seen(config: Config, competition: Competition, findings: Findings, inputs: Inputs | None) -> Competition | None:
    """Return the competition as its images tell it; None where they cannot be read, which is told."""
    try:
        if inputs is None:
            return unopened(config, competition)
        inputs.keep(config, competition)
        made = inputs.competition(config)
        open_all(config, inputs)
    except FoldlineError as error:
        if not findings.kinds and type(error).exit_code != 2:
            raise
        findings.add(IMAGES, error.problems)
        return None
    return made


def _unreadable(config: Config, sources: Sequence[tuple[str, ...]], looked: Looked | None) -> list[Problem]:
    """Return which of the images that were found cannot be read, however they are to be read."""
    sources = list(dict.fromkeys(sources))
    if not sources:
        return []
    try:
        open_config(config, sources, "images")
        return []
    except FoldlineError as error:
        found = error.problems
    damaged = {", ".join(source): source for source in sources}
    for other in _different(config, looked, Affects.IMAGES | Affects.ROWS):
        found = tuple(one for one in found if one.place in damaged and not _reads(other, damaged[one.place]))
    return list(found)


def _reads(config: Config, source: tuple[str, ...]) -> bool:
    try:
        decode_config(config, source)
    except ValueError:
        return False
    return True


def _different(config: Config, looked: Looked | None, results: Affects) -> list[Config]:
    """Return the configs that may have been meant and that give other results than this one."""
    names = sorted(looked.unsure & set(affecting(results))) if looked is not None else []
    if looked is None or not names:
        return []
    by_values = {str([KEYS[name].value(one) for name in names]): one for one in (config, *looked.others)}
    return [one for one in by_values.values() if one is not config]


def _common(look: Callable[[Config], Iterable[Problem]], config: Config, looked: Looked | None) -> list[Problem]:
    """Return the problems of a config that all those have which may have been meant."""
    found = list(look(config))
    for other in () if looked is None else looked.others:
        also = set(look(other)) if found else set()
        found = [one for one in found if one in also]
    return found


def _keep_common(findings: Findings, also: Findings) -> None:
    """Keep the problems and images that another way to read the tables finds, too."""
    for kind, problems in list(findings.kinds.items()):
        there = set(also.kinds.get(kind, ()))
        places = {one.place for one in there} if kind in BY_PLACE else set()
        kept = [one for one in problems if one in there or one.place in places]
        findings.kinds[kind] = kept
        if not kept:
            del findings.kinds[kind]
    found = set(also.images)
    findings.images = [image for image in findings.images if image in found]
