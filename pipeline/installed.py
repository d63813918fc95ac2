"""Tell by exit code whether this Python has what pyproject.toml asks: python -m pipeline.installed [EXTRA …].

Used by the setup scripts: nothing heavy is imported, no network, a tenth of a second.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def missing(pyproject: Path, extras: Sequence[str]) -> list[str]:
    """Return the requirements that are absent or out of range; all of them where `packaging` is absent."""
    import tomllib

    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    texts: list[str] = project["dependencies"]
    for extra in extras:
        texts = texts + project["optional-dependencies"][extra]
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return texts
    found = []
    for requirement in map(Requirement, texts):
        try:
            fits = requirement.specifier.contains(version(requirement.name), prereleases=True)
        except PackageNotFoundError:
            fits = False
        if not fits:
            found.append(str(requirement))
    return found


if __name__ == "__main__":
    sys.exit(bool(missing(Path(__file__).parents[1] / "pyproject.toml", sys.argv[1:])))
