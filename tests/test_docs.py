"""Documentation is part of the feature: doctests run, examples run, and the policies that pages name can be read."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lehr
from lehr.rules.page import page

ROOT = Path(__file__).parent.parent
TRAINERS = ("lehr.huggingface", "lehr.ignite", "lehr.keras", "lehr.lightning")  # need more than the extra dev installs
MODULES = [
    pytest.param(module.name, marks=pytest.mark.peers) if module.name.startswith(TRAINERS) else module.name
    for module in pkgutil.walk_packages(lehr.__path__, "lehr.", onerror=lambda name: None)
]
EXAMPLES = [
    *sorted(path.name for path in (ROOT / "examples").glob("*.py")),
    *(
        pytest.param(f"trainers/{path.name}", marks=pytest.mark.peers)
        for path in sorted((ROOT / "examples" / "trainers").glob("*.py"))
    ),
]


@pytest.mark.filterwarnings("ignore:.torch.jit")  # ignite uses what torch has deprecated
@pytest.mark.parametrize("name", ["lehr", *MODULES])
def test_doctests(name: str) -> None:
    module = importlib.import_module(name)
    failures, _ = doctest.testmod(module, extraglobs={"lehr": lehr, **vars(lehr)})
    assert failures == 0


def test_every_public_function_shows_an_example() -> None:
    functions = [getattr(lehr, name) for name in lehr.__all__ if name[0].islower() and name not in ("loss", "plot")]
    silent = [function.__name__ for function in functions if ">>>" not in (function.__doc__ or "")]
    assert silent == ["as_policy"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, ROOT / "examples" / name], check=True, cwd=tmp_path, env=environment, timeout=300)


def test_the_pages_name_policies_that_can_be_read() -> None:
    page = (ROOT / "docs" / "choose.md").read_text()
    starts = r"warmup|wsd|cosine|step_decay|multistep|when|Policy|linear"
    texts = [text for text in re.findall(r"`([^`]+)`", page) if re.match(rf"({starts})\(", text)]
    texts = [text for text in texts if "…" not in text and "..." not in text]
    texts = [text.replace("val.", "metric('val', best='min').") for text in texts]
    assert len(texts) > 10
    for text in texts:
        lehr.parse(text)


def test_readme_is_a_screen_and_a_half_and_its_code_is_python() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 80
    for block in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL):
        compile(block, "README.md", "exec")


def test_readmes_rules_make_a_policy() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, object] = {"lehr": lehr}
    exec(next(block for block in blocks if "lehr.Policy" in block), names)
    assert lehr.parse(repr(names["policy"])) == names["policy"]


def test_the_page_of_the_rules_is_up_to_date() -> None:
    written = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    assert written == page(), "python -m lehr.rules.page > docs/rules.md"


def test_every_line_of_the_table_of_trainers_is_shown_by_a_test() -> None:
    page = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "::" in line]
    assert len(rows) > 20
    for row in rows:
        file, _, name = row.split("|")[-2].strip().partition("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", text, flags=re.MULTILINE), row


def test_the_snippets_for_trainers_are_python() -> None:
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "trainers.md").read_text(), flags=re.DOTALL):
        compile(block, "trainers.md", "exec")
