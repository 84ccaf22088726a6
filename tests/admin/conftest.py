"""One server with its page for each module: most tests only ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.admin.paged import Paged


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paged]:
    with Paged(tmp_path_factory.mktemp("paged")) as server:
        yield server
