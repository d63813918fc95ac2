"""Collect what was verified, a line for each place, what differs, and what was not there to be verified."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import FoldlineError, Problem, Refused
from pipeline.plugins import TRUST


class Findings:
    """Print a line for each place as it is verified; keep what differs and what is not there."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.absent: list[str] = []
        self.verified = 0

    def ok(self, place: Path | str, what: str = "") -> None:
        """Say that a place is what it should be."""
        self.verified += 1
        self._line("ok", place, what)

    def differs(self, place: Path | str, problems: Sequence[Problem]) -> None:
        """Keep what is wrong; a place is said once, however much is wrong with it."""
        new = [problem for problem in problems if problem not in self.problems]
        self.problems += new
        if new:
            self._line("differs", place, "")

    def not_there(self, place: Path | str, why: str) -> None:
        """Say what could not be verified, which does not count as wrong."""
        self.absent.append(f"{place} ({why})")
        self._line("not there", place, why)

    def judge(self, place: Path | str, problems: Sequence[Problem], what: str = "") -> bool:
        """Say that a place is as it should be, or what is wrong with it; tell which."""
        if problems:
            self.differs(place, problems)
        else:
            self.ok(place, what)
        return not problems

    @contextlib.contextmanager
    def reading(self, place: Path | str) -> Iterator[None]:
        """Take what cannot be read, or does not fit, as what is wrong with the place.

        Code that is not trusted does not run, so what needs it cannot be verified.
        """
        try:
            yield
        except (FoldlineError, Refused) as error:
            if untrusted := [one for one in error.problems if TRUST in one.remedy]:
                self.not_there(place, f"{untrusted[0].found}; {untrusted[0].remedy}")
                return
            self.differs(place, [one if one.place else one.below(str(place)) for one in error.problems])
        except OSError as error:
            self.differs(place, [Problem(str(error.filename or place), f"cannot be read: {error.strerror}")])

    @staticmethod
    def _line(kind: str, place: Path | str, what: str) -> None:
        print(f"{kind:<10}{place}{f': {what}' if what else ''}", flush=True)
