"""Draw report.html: a table of sections, each left out where its files are absent."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

from pipeline.competition.competition import Competition
from pipeline.config import fingerprints
from pipeline.config.config import Config
from pipeline.config.keys import KEYS, below
from pipeline.errors import FoldlineError, MismatchError, Problem
from pipeline.files import checksums
from pipeline.files.atomic import atomic, write_text
from pipeline.report import blend_cards, image_cards, page, plots, score_cards, training_cards
from pipeline.report.files import Card, Run

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
    """Write runs/RUN/report.html and plots/; a section whose files are absent or damaged is left out."""
    if not config.run_dir.is_dir():
        raise MismatchError(Problem(str(config.run_dir), "no such run", remedy="make it with: foldline train"))
    target = config.run_dir / "report.html"
    found = fields(config)
    if fingerprints.is_done(config.run_dir, "report", found, [target]):
        print(f"report: {target} (nothing has changed)")
        return target
    report = Run(config, competition)
    sections, left_out = [], []
    with plots.style():
        for name, section in SECTIONS.items():
            (config.run_dir / "plots" / f"{name}.png").unlink(missing_ok=True)
            try:
                card = section(report)
            except FoldlineError as error:  # a table or image that is gone costs one section, not the report
                left_out.append(f"{name}: {error.lines[0]}")
                continue
            if card is not None:
                sections.append(page.section(card.title, card.lead, _picture(config, name, card), card.html))
    if left_out:
        reasons = f"<pre>{escape(chr(10).join(left_out))}</pre>"
        sections.append(page.section("Left out", "What these sections are made from is missing.", reasons))
    write_text(target, page.page(f"{config.run_dir.name}: Foldline report", training_cards.header(report), sections))
    pictures = sorted((config.run_dir / "plots").glob("*.png"))
    fingerprints.stamp(config.run_dir, "report", found, [target, *pictures])
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


def fields(config: Config) -> fingerprints.Fields:
    """Return what the report is made from: the config and the hashes of the files that it reads."""
    paths = [*(config.run_dir / name for name in READ), *sorted(config.run_dir.glob("fold*/epochs.csv"))]
    paths += [config.folds_path, config.folds_path.with_suffix(".json")]
    hashes = {
        f"file {path.name if path.parent == config.run_dir else path}": checksums.file_hash(path) for path in paths
    }
    shown = [name for name in KEYS if name not in below("tune", "studies_dir")]
    return fingerprints.fields(config, shown, **hashes)
