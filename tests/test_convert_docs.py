"""The page on conversion: its examples are run, and its table has every code."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "convert.md"


def test_every_example_of_the_page_gives_what_it_shows() -> None:
    failures, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert failures == 0
    assert tried > 15


def test_the_table_of_the_page_has_every_code_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src" / "lehr" / "converters").glob("*.py"))
    used = set(re.findall(r'"(C\d{3})"', sources))
    listed = set(re.findall(r"^\| (C\d{3}) \|", PAGE.read_text(), flags=re.MULTILINE))
    assert listed == used
