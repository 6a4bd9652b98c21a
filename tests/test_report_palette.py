"""The colours of lines can be told apart: from the background, and from each other with every kind of colour vision."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lehr.report.palette import BACKGROUND, inks

Floats = NDArray[np.float64]

# Machado, Oliveira, Fernandes, IEEE TVCG 15 (2009), severity 1; on linear RGB
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
NAMES = ["constant", *"abcdefghi"]


def linear(colour: str) -> Floats:
    """Linear RGB of #rrggbb."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(rgb: Floats) -> Floats:
    """OKLab of linear RGB (Ottosson 2020)."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    mixed = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    lab: Floats = np.cbrt(np.clip(rgb, 0, 1) @ cones.T) @ mixed.T
    return lab


@pytest.mark.parametrize("side", ["light", "dark"])
@pytest.mark.parametrize("vision", VISION)
def test_ten_lines_differ_for_every_eye(side: str, vision: str) -> None:
    colours = np.array([linear(getattr(ink, side)) for ink in inks(NAMES).values()])
    lab = oklab(colours @ np.array(VISION[vision]).T)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(10, k=1)]
    assert distances.min() >= 0.08


@pytest.mark.parametrize("side", ["light", "dark"])
def test_every_line_stands_out_from_the_background(side: str) -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])
    ground = float(linear(getattr(BACKGROUND, side)) @ weights)
    for ink in inks(NAMES).values():
        light = float(linear(getattr(ink, side)) @ weights)
        assert (max(light, ground) + 0.05) / (min(light, ground) + 0.05) >= 3


def test_the_control_is_grey_and_an_eleventh_line_is_dashed() -> None:
    drawn = inks(["a", "constant", *(f"p{i}" for i in range(9))])
    assert max(linear(drawn["constant"].light)) - min(linear(drawn["constant"].light)) < 0.05
    assert drawn["a"].dash == ()
    assert drawn["p8"].dash != ()
    assert drawn["p8"].light == drawn["a"].light
    assert len(set(drawn.values())) == 11
