"""Read the competition and open its images once for a job: its stages, seeds and trials share them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.batches import fold_rows, progressive_resizing, seen
from pipeline.batches.seen import TEST, TRAIN, Open, Seen
from pipeline.competition.competition import Competition, class_problems, load
from pipeline.competition.image_paths import Source
from pipeline.config.config import Config
from pipeline.errors import InputError
from pipeline.images.cache import ImageSet, open_config, size_for
from pipeline.images.verifying import open_verified, verified


class Inputs:
    """Hold what a job has read so far, for each way in which its configs read it.

    Files that change while a job runs are seen by the next one. `opener` opens images, usually through the cache.
    """

    def __init__(self, opener: Open = open_config, verified: bool = False) -> None:
        """Begin with nothing; `verified`: the process that started this one has verified the cache."""
        self._opener, self._is_verified = opener, verified or opener is not open_config
        self._verified = set[tuple[str, str, tuple[int, int]]]()
        self._tables: dict[str, Competition] = {}
        self._seen: dict[str, Seen] = {}
        self._images: dict[tuple[str, str, tuple[int, int]], ImageSet] = {}

    def competition(self, config: Config) -> Competition:
        """Return the rows, labels and paths, as the images tell them; raise InputError with every problem."""
        name = _read_by(config)
        if name not in self._seen:
            read = self._tables.get(name) or load(config)
            found = self._seen[name] = seen.see(config, read, self._opener)
            self._images[name, TRAIN, size_for(config)] = found.train
            self._images[name, TEST, size_for(config)] = found.test
        if problems := class_problems(config, self._seen[name].competition.classes):  # what other settings change
            raise InputError(*problems)
        return self._seen[name].competition

    def keep(self, config: Config, competition: Competition) -> None:
        """Take the tables that somebody read already."""
        self._tables.setdefault(_read_by(config), competition)

    def training_images(self, config: Config, sizes: bool = False) -> ImageSet:
        """Open the images of `fold_rows.sources`, with `sizes` also at those of `train.sizes`, as their `others`."""
        sources = fold_rows.sources(self.competition(config))
        if sizes:
            return progressive_resizing.open_all(config, sources, TRAIN, self._open)
        return self._open(config, sources, TRAIN)

    def test_images(self, config: Config) -> ImageSet:
        """Open the images of the test rows."""
        return self._open(config, self.competition(config).test_images, TEST)

    def open_further(self, config: Config, sources: Sequence[Source], label: str) -> ImageSet:
        """Open images that no other stage wants."""
        return (self._opener if self._is_verified else open_verified)(config, sources, label)

    def _open(self, config: Config, sources: Sequence[Source], label: str) -> ImageSet:
        name = (_read_by(config), label, size_for(config))
        if name not in self._images:
            self._images[name] = self._opener(config, sources, label)
        if name not in self._verified and not self._is_verified:
            self._images[name] = verified(self._images[name], config, sources, label)
            self._verified.add(name)
        return self._images[name]


def _read_by(config: Config) -> str:
    """Return what the rows and the decoding depend on beside the files."""
    return config.model_dump_json(include={"data", "folds"})
