"""redis-om's hash models: saved, read, updated, listed, expired, deleted. (Its queries need Redis's search module.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program import running
from tests.programs.own_folder import path_with
from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = pytest.mark.slow


def test_hash_models(served: Served, tmp_path: Path) -> None:
    """Its stubs of redis-py, of an older time, would change what mypy says of everything else: so a folder of its own,
    where it finds pydantic among the other packages."""
    needs_package("pydantic")
    packages = ["redis-om>=1.2,<2", "python-ulid", "more-itertools", "pydantic-extra-types"]
    environment = {"URL": served.url, "PYTHONPATH": path_with(tmp_path / "packages", *packages, dependencies=False)}
    shop = ["-m", "tests.programs.apps.redis_om_shop"]
    with running(tmp_path, [*shop, "save"], **environment) as program:
        key = program.found(r"saved (\w+)")
        program.wait()
    served.kill_and_start()
    with running(tmp_path, [*shop, "read", key], **environment) as program:
        assert program.wait() == "deleted\n"
