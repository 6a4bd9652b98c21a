"""A chart as a file: png, svg, or html that needs nothing beside itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lehr.errors import LehrError
from lehr.extras import needs

if TYPE_CHECKING:
    import altair as alt

__all__ = ["check_suffix", "save"]

SUFFIXES = (".png", ".svg", ".html")


def check_suffix(path: Path) -> None:
    """Refuse a file name that does not say what to write.

    Raises:
        LehrError: the name does not end in .png, .svg or .html.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise LehrError(f"a figure's file must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, got {path.name!r}")


def save(chart: alt.Chart | alt.VConcatChart, path: Path) -> None:
    """Write the chart; the file's ending says how.

    Raises:
        LehrError: an unknown ending, a path that cannot be written, or vl-convert is not installed.
    """
    check_suffix(path)
    with needs("plot"):
        import vl_convert  # noqa: F401  # altair asks for it late, and in many words
    try:
        if path.suffix.lower() == ".html":
            path.write_text(chart.to_html(inline=True, embed_options={"actions": False}), encoding="utf-8")
        else:
            chart.save(str(path), format="png" if path.suffix.lower() == ".png" else "svg", ppi=200)
    except OSError as error:
        raise LehrError(f"cannot write {str(path)!r}: {error.strerror or error}; choose another place") from error
