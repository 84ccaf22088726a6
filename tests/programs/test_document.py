"""docs/programs.md: each program of its tables has a test, each test is in a table, and its recipes run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.program import running
from tests.programs.served import Served
from tests.source import ROOT
from tests.tool import needs_package

TEXT: Final = (ROOT / "docs" / "programs.md").read_text(encoding="utf-8")

RECIPES: Final = dict(re.findall(r"\*\*(\S+)\.\*\*(?:(?!\*\*).)*?```\w+\n(.*?)```", TEXT, re.DOTALL))

USES: Final = {
    "redis-py": ("redis", "assert client.get('reports') == b'1'"),
    "Django": (
        "django",
        "from django.conf import settings; settings.configure(CACHES=CACHES, SESSION_ENGINE=SESSION_ENGINE)\n"
        "from django.core.cache import cache; cache.set('a', 1); assert cache.get('a') == 1",
    ),
    "Flask": (
        "flask_session",
        "from flask import session\n"
        "with app.test_request_context(): cache.set('a', 1); session['b'] = 2; assert cache.get('a') == 1",
    ),
    "Celery": (
        "celery",
        "app.send_task('a task', ignore_result=True); assert app.backend.client.ping()\n"
        "assert app.connection().default_channel.client.llen('celery') == 1",
    ),
    "RQ": ("rq", "from rq import SimpleWorker; SimpleWorker([queue], connection=queue.connection).work(burst=True)\n"
           "assert job.get_status(refresh=True) == 'finished'"),
    "Dramatiq": (
        "dramatiq",
        "task = dramatiq.actor(lambda: 5, actor_name='five', store_results=True); message = task.send()\n"
        "worker = dramatiq.Worker(broker); worker.start()\n"
        "assert message.get_result(block=True, timeout=180_000) == 5; worker.stop()",
    ),
    "channels_redis": (
        "channels_redis",
        "from django.conf import settings; settings.configure(CHANNEL_LAYERS=CHANNEL_LAYERS); import asyncio\n"
        "from channels.layers import get_channel_layer; layer = get_channel_layer()\n"
        "async def use(): await layer.send('a', {'type': 'b'}); assert await layer.receive('a') == {'type': 'b'}\n"
        "asyncio.run(use())",
    ),
    "limits": ("limits", "assert allowed"),
    "BullMQ": (
        "",
        "worker.on('completed', (job, result) => process.exit(result === 'sent to ada' ? 0 : 1));\n"
        "queue.add('one', { to: 'ada' });",
    ),
    "socket.io": (
        "",
        "server.to('room').emit('hello');\n"
        "setInterval(async () => (await pub.pubsub('NUMPAT')) === 1 && process.exit(0), 10);",
    ),
}  # fmt: skip
"""Of each recipe the package it needs, and what its user goes on to do."""


def test_every_program_has_a_test() -> None:
    rows = [line.split("|") for line in TEXT.splitlines() if line.startswith("| ") and "`" in line]
    told = {name for row in rows for name in re.findall(r"`(\S+\.py)`", row[5])}
    folder = Path(__file__).parent
    ours = {path.name for path in folder.glob("test_*.py")} - {"test_document.py"}
    assert {name for name in told if "/" not in name} == ours
    assert all((ROOT / name).exists() for name in told if "/" in name)
    assert RECIPES.keys() == USES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (package, _) in USES.items() if package])
def test_recipes_of_python(served: Served, name: str) -> None:
    package, use = USES[name]
    needs_package(package)
    program = f"{RECIPES[name]}\n{use}\n".replace("redis://127.0.0.1:6380", served.url)
    (served.folder / "recipe.py").write_text(program)
    with running(served.folder, ["recipe.py"]) as running_recipe:
        running_recipe.wait()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (package, _) in USES.items() if not package])
def test_recipes_of_node(served: Served, run_node: Callable[..., Any], name: str) -> None:
    script = served.folder / "recipe.cjs"
    script.write_text(f"{RECIPES[name]}\n{USES[name][1]}\n".replace("6380", str(served.port)))
    with run_node(str(script)) as program:
        program.wait()
