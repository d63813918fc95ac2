"""The report's building blocks: tables, charts and grids of images of any kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report import page, plots
from pipeline.report.mosaic import mosaic


def drawn(figure: object, tmp_path: Path) -> np.ndarray:
    path = tmp_path / "drawn.png"
    with plots.style():
        plots.save(path, figure)  # type: ignore[arg-type]
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_table_escapes_aligns_and_marks() -> None:
    html = page.table(["na<me", "value"], [["a&b", 0.5], ["c", None], ["d", 12345]], chosen=1)
    assert "na&lt;me" in html and "a&amp;b" in html
    assert '<td class="number">0.5000</td>' in html and '<td class="number">12,345</td>' in html
    assert '<tr class="chosen"><td>c</td><td class="number">–</td></tr>' in html
    assert page.number(float("nan")) == "–"


@pytest.mark.parametrize(
    "image",
    [
        np.full((4, 4, 3), 200, np.uint8),
        np.full((900, 300, 3), 200, np.uint8),
        np.full((8, 800, 3), 200, np.uint8),
        np.full((64, 64, 1), 200, np.uint8),
        np.full((64, 64, 3), 3000, np.uint16),
        np.full((64, 64, 5), 200, np.uint8),
    ],
    ids=["tiny", "tall", "wide", "gray", "16 bits", "5 channels"],
)
def test_a_mosaic_shows_images_of_any_kind(image: np.ndarray, tmp_path: Path) -> None:
    with plots.style():
        figure = mosaic([image] * 3, ["one", "two\nlines", "$3"], columns=2)
    pixels = drawn(figure, tmp_path)
    level = 255 if image.dtype == np.uint16 else 200  # 16 bits are stretched to their maximum
    assert (pixels == level).all(-1).any()


def test_small_images_are_enlarged_without_smoothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.choice(np.array([0, 120], np.uint8), (8, 8, 1)).repeat(3, axis=2)
    with plots.style():
        pixels = drawn(mosaic([image], [], columns=4, rows=["a name"]), tmp_path)
    gray = pixels[..., 0][:, 50:]  # right of the name
    assert (gray == 120).sum() == (image[..., 0] == 120).sum() * 18 * 18  # 8 px in a tile of 150


def test_a_long_name_keeps_both_ends() -> None:
    assert plots.shorten("short") == "short"
    assert plots.shorten("a_very_long_species_name_1234", 12) == "a_very…_1234"
    assert len(plots.shorten("x" * 99, 22)) == 22


def test_charts_take_gaps_and_single_points(tmp_path: Path) -> None:
    empty = np.empty(0)
    with plots.style():
        figures = [
            plots.curves({"loss": {"valid": [(np.array([1.0]), np.array([0.5])), (empty, empty)]}}, [0, 3]),
            plots.dots(["a", "b"], {"f1": np.array([0.5, np.nan]), "recall": np.array([np.nan, np.nan])}),
            plots.spreads(["a"], [empty], [(0.5, 0.5, 0.5)], "score"),
            plots.labels(["a"], np.array([0.0]), np.array([[0.0]]), [0]),
            plots.matrix(np.array([[0, 0], [3, 1]]), ["a$b", "c"]),
            plots.stacked(["a"], {"found": np.array([2]), "missed": np.array([0])}),
        ]
        for figure in figures:
            assert len(np.unique(drawn(figure, tmp_path))) > 10
