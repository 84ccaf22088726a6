"""All rows of the embedded comparison, by name, in the order of the table."""

from __future__ import annotations

from typing import Final

from flin.bench.row import BASIC_ROWS, Row
from flin.bench.ycsb import YCSB_ROWS

ROWS: Final[dict[str, Row]] = BASIC_ROWS | YCSB_ROWS
