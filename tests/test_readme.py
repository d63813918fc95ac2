"""Hold README.md and docs/ to the code: configs are configs, commands are commands, links and files are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_rooms import ROOMS

from pipeline import cli
from pipeline.config import loading as configs
from pipeline.config.config import Config
from pipeline.config.keys import KEYS, below
from pipeline.config.search_space import resolve as search_space
from pipeline.config.sections.data import Data
from pipeline.config.trees import overlaid
from pipeline.errors import InputError

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
}
TECHNIQUES, DATA = PAGES["docs/techniques.md"], PAGES["docs/data.md"]
PLUGIN = re.compile(r"(mine|my_\w+)\.py:\w+")  # a user's own files
OF_THE_READER = {"configs/my-competition.yaml"}  # files that the pages name as the reader's own
BASES: dict[str, dict[str, Any]] = {
    "multiclass": {"target": "label"},
    "binary": {"target": "label"},
    "multilabel": {"target": ["scab", "rust", "healthy"]},
    "joined": {"task": "multilabel", "target": "label", "separator": " "},
    "ordinal": {"target": "level"},
    "regression": {"target": "score"},
    "heads": {"task": "multiclass", "target": ["mask", "gender", "age"], "heads": True},
}
METRICS = {"ordinal": "quadratic_weighted_kappa", "regression": "rmse", "multilabel": "f1_macro", "joined": "f1_macro"}
LOSSES = {"regression": "mse", "multilabel": "binary_cross_entropy", "joined": "binary_cross_entropy"}


def fenced(page: str, language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def prose(page: str) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)


def quoted(page: str) -> list[str]:
    """Return what stands in backticks outside of blocks, a table's escaped bars as bars."""
    return [text.replace("\\|", "|") for text in re.findall(r"`([^`\n]+)`", prose(page))]


def snippets(page: str, keys: Any) -> list[str]:
    """Return the YAML in backticks of a page's tables that sets one of these keys."""
    rows = "\n".join(line for line in page.splitlines() if line.startswith("| "))
    return [text for text in quoted(rows) if text.partition(": ")[0] in keys and "…" not in text]


def tree(task: str, part: dict[str, Any]) -> dict[str, Any]:
    """Return a config of a task with a part of the pages laid over it."""
    base: dict[str, Any] = {
        "name": "pets",
        "data": {"root": "data/pets", "image": "{id}.png", "task": task, **BASES[task]},
        "model": {"name": "resnet18"},
        "train": {"epochs": 20, "ema": "average" not in part.get("train", {})},
        "augment": {"train": "none"},
        "loss": {"name": LOSSES.get(task, "cross_entropy")},
        "metric": METRICS.get(task, "accuracy"),
    }
    return overlaid(base, part)


def refusals(part: dict[str, Any]) -> list[str]:
    """Return nothing where a config of some task takes the part, else what each of them says."""
    said = []
    for task in BASES:
        try:
            config = configs.parse(tree(task, part), task)
            if "tune" in part:
                search_space.read(config)
        except InputError as error:
            said += error.lines
        else:
            return []
    return said


def commands() -> list[tuple[str, str]]:
    """Return page and command line of every call of ours, in blocks and in backticks."""
    found = []
    for name, page in PAGES.items():
        lines = [line for block in fenced(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
        for line in [*lines, *(text for text in quoted(page) if " -" in text)]:
            call = re.search(r"(?:\bfoldline|-m pipeline) (?!-)(.+)", line)
            if call is not None:
                found.append((name, re.sub(r"[\[\]](?!\d)", "", call[1])))  # [--images FOLDER]: may be left out
    return found


@pytest.mark.parametrize("snippet", snippets(TECHNIQUES, Config.model_fields))
def test_a_techniques_config_is_one(snippet: str) -> None:
    if not PLUGIN.search(snippet):
        assert refusals(yaml.safe_load(snippet)) == []


@pytest.mark.parametrize("snippet", snippets(DATA, {*Data.model_fields, *Config.model_fields}))
def test_a_layouts_config_is_one(snippet: str) -> None:
    part = yaml.safe_load(snippet)
    if set(part) <= set(Data.model_fields):
        part = {"data": part}
    if not PLUGIN.search(snippet):
        assert refusals(part) == []


@pytest.mark.parametrize(
    ("page", "block"), [(name, block) for name, page in PAGES.items() for block in fenced(page, "yaml")]
)
def test_a_block_of_yaml_is_a_config(page: str, block: str) -> None:
    part = yaml.safe_load(block)
    if "name" in part:
        configs.parse(part, page)
    else:
        assert refusals(part) == []


def test_the_tables_and_blocks_were_read() -> None:
    assert len(snippets(TECHNIQUES, Config.model_fields)) > 45
    assert len(snippets(DATA, Data.model_fields)) > 20
    assert sum(len(fenced(page, "yaml")) for page in PAGES.values()) >= 3
    assert len(commands()) > 30


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_is_one_and_takes_these_options(page: str, line: str) -> None:
    arguments = shlex.split(line, comments=True)
    assert arguments[0] in cli.COMMANDS
    given = cli.parser().parse_args(arguments)  # ends the test with argparse's words where an option is unknown
    for setting in getattr(given, "set", None) or []:
        key = setting.partition("=")[0]
        assert key in KEYS or below(key), f"{page}: {key} is no key of the config"


@pytest.mark.parametrize("page", PAGES)
def test_a_benchmarks_options_are_its_own(page: str) -> None:
    for script, rest in re.findall(r"python (tests/benchmarks/\w+\.py)([^`\n]*)", PAGES[page]):
        text = (ROOT / script).read_text(encoding="utf-8")
        for option in re.findall(r"(?<= )--?(\w[\w-]*)", rest):
            assert re.search(rf"\"-*{option}\"", text), f"{script} {option}"


def test_the_readme_lists_every_command() -> None:
    table = PAGES["README.md"].split("\n## Commands\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(cli.COMMANDS)


def test_the_architecture_lists_every_room_in_order() -> None:
    table = PAGES["docs/architecture.md"].split("\n## The rooms\n")[1].split("\n## ")[0]
    first_cells = "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| ["))
    assert re.findall(r"\[`(\w+)(?:\.py|/)`\]", first_cells) == ROOMS


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[page]))
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", prose(target.read_text(encoding="utf-8")), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}, link


@pytest.mark.parametrize("page", PAGES)
def test_named_files_are_there(page: str) -> None:
    folder = r"(?<![\w/.])(?:configs|docs|folds|pipeline|tests)/(?:[\w.-]+/)*"
    found = re.findall(rf"{folder}[\w.-]*(?:\.(?:yaml|py|png|log|sh|md|csv|json)|/)", PAGES[page])
    named = {text for text in found if "NAME" not in text} - OF_THE_READER
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    if page == "README.md":
        assert len(named) > 10


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_linked_to(page: str) -> None:
    assert page == "README.md" or f"]({page})" in PAGES["README.md"]


def test_named_tables_are_in_the_files_beside_them() -> None:
    """A row of "Where does a new … go" names a file and a table that the file has."""
    section = PAGES["docs/architecture.md"].split("\n## Where does a new … go\n")[1]
    rows = [line.split("|")[1:4] for line in section.splitlines() if line.startswith("| ")][1:]
    for what, files, how in rows:
        texts = "\n".join(
            (ROOT / "docs" / path).read_text(encoding="utf-8")
            for path in re.findall(r"\]\((\.\./[^)]+)\)", files + how)
        )
        for name in re.findall(r"`([A-Z][A-Z_]+|\w*_\w+|decode_bytes)`", how):
            assert re.search(rf"^(?:def )?{name}\b", texts, re.MULTILINE), f"{what}: {name}"
    assert len(rows) == 12


def test_the_plugins_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The five examples are pasted into mine.py, named in a config as their comments say, and called."""
    import numpy as np
    import torch

    from pipeline.methods import mixing, tta
    from pipeline.methods.blenders import Objective
    from pipeline.methods.blenders import find as find_blender
    from pipeline.methods.metrics import find as find_metric
    from pipeline.methods.tasks import TASKS

    (code,) = fenced(TECHNIQUES, "python")
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    comments = re.findall(r"^def \w+\(.*\):  # ([^;\n]+)", code, re.MULTILINE)
    part: dict[str, Any] = {}
    for comment in comments:
        part = overlaid(part, yaml.safe_load(comment))
    assert len(comments) == 5 and set(part) == {"loss", "mix", "tta", "metric", "ensemble"}
    config = configs.parse(tree("multiclass", part), "docs/techniques.md")

    images_BCHW, rng = torch.rand(4, 3, 8, 8), np.random.default_rng(0)
    targets_BC, probs_NC = torch.eye(3)[[0, 1, 2, 0]], np.full((4, 3), 1 / 3)
    assert TASKS["multiclass"].loss(config.loss.name).function(torch.randn(4, 3), targets_BC).shape == (4,)
    mixed_BCHW, _ = mixing.mix_batch(images_BCHW, targets_BC, rng, config.mix.kind, "box", alpha=1.0, prob=1.0)
    assert mixed_BCHW.shape == images_BCHW.shape
    assert torch.equal(tta.apply(config.tta[-1], images_BCHW), images_BCHW + 0.1)
    assert find_metric(config.metric).score(targets_BC.numpy(), targets_BC.numpy(), True) == 1
    blender, members = find_blender(config.ensemble.blender), [probs_NC, targets_BC.numpy().astype(np.float64)]
    fit = blender.fit(members, Objective(targets_BC.numpy(), find_metric(config.metric), True, np.zeros(4)))
    assert np.array_equal(blender.apply(fit, members, True), members[1])
