"""`lehr show`: see a policy before anything trains."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.report import saving
from lehr.report.facts import Facts, Strand, facts_of, horizon_of, planned, strands
from lehr.report.rule_words import rule_in_words
from lehr.report.wording import short
