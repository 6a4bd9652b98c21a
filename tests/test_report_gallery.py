"""The gallery is what the catalogue and the docstrings say, and its pictures are the curves."""

import inspect
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lehr.report.gallery import EDGE, HEIGHT, WIDTH, pages, picture, sections
from lehr.schedules.catalogue import CATALOGUE, Row

DOCS = Path(__file__).parent.parent / "docs"


def points(svg: str) -> list[tuple[float, float]]:
    """The points of the curve, as positions in the run and shares of the peak."""
    line = ElementTree.fromstring(svg).find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    pairs = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    return [((x - EDGE) / (WIDTH - 2 * EDGE), (HEIGHT - EDGE - y) / (HEIGHT - 2 * EDGE)) for x, y in pairs]


def test_the_page_and_its_pictures_are_up_to_date() -> None:
    made = pages()
    assert {f"catalogue/{path.name}" for path in (DOCS / "catalogue").iterdir()} == made.keys() - {"catalogue.md"}
    for name, content in made.items():
        assert (DOCS / name).read_text() == content, f"{name}: run python -m lehr.report.gallery docs"


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_every_row_says_its_formula_parameters_errors_example_and_source(row: Row) -> None:
    doc = sections(row.make)
    assert set(doc) >= {"", "Raises", "Example", "Source"} or row.name == "hold"
    assert ">>>" in doc["Example"]
    described = re.findall(r"^(\w+): ", doc["Args"], flags=re.MULTILINE)
    assert described == list(inspect.signature(row.make).parameters)


def test_a_picture_is_the_curve() -> None:
    assert points(picture("linear()"))[0] == (0.0, 1.0)
    assert points(picture("linear()"))[-1] == pytest.approx((1.0, 0.001), abs=0.001)
    steps = points(picture("multistep(['50%'], gamma=0.5)"))
    assert steps[-1] == (1.0, 0.5)
    assert all(share in (1.0, 0.5) for _, share in steps)
    assert max(share for _, share in points(picture("multistep(['50%'], gamma=3)"))) == 1.0
