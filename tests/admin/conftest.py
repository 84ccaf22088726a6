"""One server with its page for each module: most tests only ask."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from flin.admin import source
from tests.admin.paged import Paged


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paged]:
    with pytest.MonkeyPatch.context() as patch, Paged(tmp_path_factory.mktemp("paged")) as server:
        patch.setattr(source, "COUNT_SECONDS", 0.0)  # keys are counted whenever somebody asks
        patch.setattr(source, "COUNT_SHARE", math.inf)
        yield server
