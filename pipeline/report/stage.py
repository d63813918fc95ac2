"""Draw report.html: a table of sections, each left out where its files are absent."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TypeVar

from pipeline.competition.competition import Competition
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.keys import KEYS, below
from pipeline.errors import InputError, MismatchError, Problem
from pipeline.files import checksums
from pipeline.files.atomic import atomic, write_text
from pipeline.report import blend_cards, image_cards, page, plots, score_cards, training_cards
from pipeline.report.files import Card, Run

T = TypeVar("T")
# Name of the plot -> section; the page's order.
SECTIONS: dict[str, Callable[[Run], Card | None]] = {
    "score": score_cards.score,
    "variants": score_cards.variants,
    "blenders": blend_cards.blenders,
    "members": blend_cards.members,
    "search": blend_cards.search,
    "chosen": blend_cards.chosen,
    "training": training_cards.training,
    "confusion": score_cards.confusion,
    "classes": score_cards.classes,
    "wrong": image_cards.wrong,
    "views": score_cards.views,
    "batch": image_cards.batch,
    "samples": image_cards.samples,
    "labels": training_cards.labels,
    "settings": training_cards.settings,
}
READ = (
    *("config.yaml", "predict.yaml", "env.json", "scores.json", "ensemble.json", "held_back.json", "oof.csv"),
    "fold0/batch.npz",
)


def run(config: Config, competition: Competition | None = None) -> Path:
    """Write runs/RUN/report.html and plots/; a section whose files are absent or damaged is left out.

    What is damaged is named on the page and on the screen, and the report drawn anew until nothing is.
    """
    if not config.run_dir.is_dir():
        raise MismatchError(Problem(str(config.run_dir), "no such run", remedy="make it with: foldline train"))
    target = config.run_dir / "report.html"
    found = fields(config)
    if fingerprints.is_done(config.run_dir, "report", found, [target]):
        print(f"report: {target} (nothing has changed)")
        return target
    report, sections, left_out = Run(config, competition), list[str](), list[str]()

    def attempt(name: str, draw: Callable[[Run], T]) -> T | None:
        try:
            return draw(report)
        except (MismatchError, InputError) as error:  # a table or image that is gone costs one section alone
            left_out.append(f"{name}: {error.lines[0]}")
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            left_out.append(f"{name}: what it is made from is damaged ({type(error).__name__}: {error})")
        return None

    with plots.style():
        for name, section in SECTIONS.items():
            (config.run_dir / "plots" / f"{name}.png").unlink(missing_ok=True)
            if (card := attempt(name, section)) is not None:
                sections.append(page.section(card.title, card.lead, _picture(config, name, card), card.html))
    header = attempt("header", training_cards.header) or f"<h1>{escape(config.run_dir.name)}</h1>"
    if left_out := [*report.damaged.values(), *left_out]:
        reasons = f"<pre>{escape(chr(10).join(left_out))}</pre>"
        sections.append(page.section("Left out", "What these sections are made from is missing or damaged.", reasons))
    write_text(target, page.page(f"{config.run_dir.name}: Foldline report", header, sections))
    if left_out:
        fingerprints.stamp_path(config.run_dir, "report").unlink(missing_ok=True)
    else:
        pictures = sorted((config.run_dir / "plots").glob("*.png"))
        fingerprints.stamp(config.run_dir, "report", found, [target, *pictures])
    print("".join(f"left out: {line}\n" for line in left_out), end="")
    print(f"report: {target} ({len(sections)} sections, {target.stat().st_size / 1e6:.1f} MB)")
    return target


def _picture(config: Config, name: str, card: Card) -> str:
    """Save the card's figure below plots/ and return it as HTML."""
    if card.figure is None:
        return ""
    path = config.run_dir / "plots" / f"{name}.png"
    with atomic(path) as beside:
        plots.save(beside, card.figure)
    return page.picture(path, card.title)


def _hash(path: Path) -> str:
    try:
        return checksums.file_hash(path)
    except OSError:
        return "unreadable"


def fields(config: Config) -> fingerprints.Fields:
    """Return what the report is made from: the config and the hashes of the files that it reads."""
    paths = [*(config.run_dir / name for name in READ), *sorted(config.run_dir.glob("fold*/epochs.csv"))]
    paths += [config.folds_path, config.folds_path.with_suffix(".json")]
    paths += sorted((config.run_dir / "stamps").glob("train-fold*.json"))  # they tell a mixed run
    hashes = {f"file {path.name if path.parent == config.run_dir else path}": _hash(path) for path in paths}
    shown = [name for name in KEYS if name not in below("tune", "studies_dir")]
    return fingerprints.fields(config, shown, **hashes)
