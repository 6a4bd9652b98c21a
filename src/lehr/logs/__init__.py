"""Logs of runs as traces: Lehr's own, and one foreign format a file.

A format of text is a module with `recognises(text)` and `read(text, path) -> Log`, and a place in `reading.FORMATS`.
Others, such as event files, are opened by `reading` itself.
"""

from lehr.logs.reading import read_trace

__all__ = ["read_trace"]
