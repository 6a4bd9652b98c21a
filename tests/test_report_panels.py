import numpy as np
import pytest

from lehr.report.panels import Axis, robust_range, specification


def test_the_range_holds_all_curves_with_a_margin() -> None:
    low, high = robust_range([[1.0, 2.0], [0.0, 1.5]], [1.0, 2.0], log=False)
    assert (low, high) == pytest.approx((-0.06, 2.06))


def test_a_diverged_curve_does_not_flatten_the_rest() -> None:
    low, high = robust_range([[1.0, 0.1], [1.0, 1e30]], [1.0, 0.1], log=True)
    assert 0.09 < low < 0.1
    assert 3 < high < 4
    low, high = robust_range([[0.5, 0.9], [-1e9, 0.8]], [0.5, 0.9], log=False, best="max")
    assert low == pytest.approx(0.3, abs=0.02)
    assert high > 0.9


def test_without_a_reference_everything_is_drawn() -> None:
    assert robust_range([[0.0, 100.0]], [], log=False) == pytest.approx((-3, 103))
    low, high = robust_range([[5.0]], [], log=False)
    assert low < 5 < high


@pytest.mark.parametrize("log", [True, False])
def test_a_specification_has_no_data_and_its_axis(log: bool) -> None:
    specified = specification(Axis("loss", 0.1, 2.0, log=log), steps=500)
    assert [layer["data"] for layer in specified["layer"]] == [
        {"name": n} for n in ("cursor", "lines", "dots", "marks")
    ]
    assert "datasets" not in specified
    ticks = specified["layer"][1]["encoding"]["y"]["axis"].get("values")
    assert ticks == ([0.1, 0.2, 0.5, 1.0, 2.0] if log else None)
    scales = [layer["encoding"]["y"]["scale"] for layer in specified["layer"][1:]]
    assert all(scale["domain"] == [0.1, 2.0] for scale in scales)
    assert all(scale["type"] == ("log" if log else "linear") for scale in scales)
    assert specified["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0, 500]
    assert np.all([layer["encoding"]["x"]["title"] == "step" for layer in specified["layer"]])
