"""Tables in parquet, wide or long, as polars, pandas and W&B write them."""

from __future__ import annotations

import io

from lehr.errors import LehrError
from lehr.extras import needs
from lehr.logs.log import Log
from lehr.logs.long import log_of

__all__ = ["read", "recognises"]


def recognises(content: bytes) -> bool:
    """Whether a file that begins so is one."""
    return content.startswith(b"PAR1")


def read(content: bytes, path: str) -> Log:
    """Read it.

    Raises:
        LehrError: the file is damaged, or a column holds more than numbers.
        MissingExtra: polars is not installed.
    """
    with needs("logs"):
        import polars
    try:
        frame = polars.read_parquet(io.BytesIO(content))
    except polars.exceptions.PolarsError as error:
        raise LehrError(f"{path} cannot be read: {error}; a parquet file must be whole; or write it as csv") from None
    plain = frame.with_columns(polars.selectors.decimal().cast(polars.Float64))
    return log_of("parquet", enumerate(plain.iter_rows(named=True), 1), path)
