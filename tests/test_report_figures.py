import json
import re
from pathlib import Path

import altair as alt
import numpy as np
import pytest

import lehr
from lehr.report.saving import save


def points(chart: alt.Chart) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    (values,) = chart.to_dict()["datasets"].values()
    for point in values:
        found.setdefault(point["policy"], []).append((point["step"], point["lr"]))
    return found


def test_curves_are_labelled_by_their_texts_and_scaled_by_the_lr() -> None:
    drawn = points(lehr.plot("lehr.linear(to=0)", lehr.constant(0.5), steps=100, lr=0.2))
    assert drawn == {"linear()": [(0, 0.2), (99, pytest.approx(0.002))], "constant(0.5)": [(0, 0.1), (99, 0.1)]}


def test_jumps_survive_the_thinning() -> None:
    drawn = points(lehr.plot("step_decay(300, 0.5)", steps=10_000))
    steps = [step for points in drawn.values() for step, _ in points]
    assert {0, 299, 300, 599, 600, 9999} <= set(steps)
    assert len(steps) < 200


def test_a_curve_can_be_read_back_from_its_points() -> None:
    plan = lehr.parse("warmup('5%').then(cosine(to=0.1))")
    steps, values = zip(*points(lehr.plot(plan, steps=5000))[repr(plan)], strict=True)
    exact = plan.resolve(steps=5000)(np.arange(5000))
    assert np.abs(np.interp(np.arange(5000), steps, values) - exact).max() < 1 / 4000


def test_a_policy_given_twice_is_drawn_once() -> None:
    assert list(points(lehr.plot("cosine()", lehr.cosine()))) == ["cosine()"]


def test_a_horizon_measures_epochs() -> None:
    drawn = points(lehr.plot("step_decay('1 epoch', 0.5)", horizon=lehr.Horizon(epochs=2, steps_per_epoch=10)))
    assert [step for points in drawn.values() for step, _ in points] == [0, 9, 10, 19]


def test_the_axis_says_what_is_drawn() -> None:
    titles = [lehr.plot("cosine()", lr=lr).to_dict()["encoding"]["y"]["title"] for lr in (None, 0.1)]
    assert titles == ["factor", "learning rate"]


def test_nothing_to_plot_is_refused() -> None:
    with pytest.raises(lehr.LehrError, match="at least one policy"):
        lehr.plot()


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<svg")])
def test_files_are_of_their_kind(tmp_path: Path, name: str, start: bytes) -> None:
    save(lehr.plot("cosine()", steps=100), tmp_path / name)
    written = (tmp_path / name).read_bytes()
    assert written.lstrip().startswith(start)
    assert len(written) > 1000


def test_html_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    save(lehr.plot("cosine()", steps=100), tmp_path / "a.html")
    written = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert written.startswith("<!DOCTYPE html>")
    assert not re.search(r"<(script|link)[^>]+(src|href)=", written)
    assert json.dumps("cosine()") in written


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(lehr.LehrError, match=r"must end in \.png, \.svg or \.html, got 'a\.pdf'"):
        save(lehr.plot("cosine()"), tmp_path / "a.pdf")
    with pytest.raises(lehr.LehrError, match="cannot write"):
        save(lehr.plot("cosine()"), tmp_path / "nowhere" / "a.svg")
