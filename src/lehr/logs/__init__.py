"""Logs of runs as traces: Lehr's own, and one foreign format a file.

A format is a module with `recognises(text)` and `read(text, path) -> Log`, and a place in `reading.FORMATS`.
"""

from lehr.logs.reading import read_trace

__all__ = ["read_trace"]
