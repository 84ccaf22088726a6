"""The helper's program, driven without a runner: hello, jobs, errors, cancellation, and how it ends."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread, get_native_id
from typing import Any

import pytest

from flin.engine.background.compaction import Compaction
from flin.engine.background.helper import NICE_COMPACTION, NICE_FLUSH, lower_priority
from flin.engine.background.helper_process import own_command
from flin.engine.background.job import Job
from flin.engine.background.job_wire import PROTOCOL, decode_result, encode_job, encode_message, read_message
from flin.testing.process import PATIENCE_SECONDS
from tests.engine.shard_tree import Tree


class Spoken:
    """A helper process and its messages."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            own_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    def say(self, message: dict[str, Any] | bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(message if isinstance(message, bytes) else encode_message(message))

    def hear(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        return read_message(self.process.stdout.read)

    def end(self) -> tuple[int, bytes]:
        """End its input. Returns its status and what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, errors


@pytest.fixture
def helper() -> Iterator[Spoken]:
    spoken = Spoken()
    yield spoken
    spoken.process.kill()
    spoken.process.communicate()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(str(tmp_path))
    made.flush([((), {b"%06d" % number: b"v" * 50 for number in range(5000)})])
    return made


def job_message(tree: Tree, job_id: int, **changes: Any) -> dict[str, Any]:
    plan = Compaction(0, (0,), tree.runs[0], tree.runs[0], (), (), True, "test")
    return {"type": "job", "id": job_id, **encode_job(tree.compaction_job(plan, 20_000, 4096)), **changes}


def test_it_greets_works_and_ends_with_its_input(helper: Spoken, tree: Tree) -> None:
    assert helper.hear() == {"type": "hello", "protocol": PROTOCOL, "pid": helper.process.pid}
    for job_id in (5, 6):
        helper.say(job_message(tree, job_id))
        answer = helper.hear()
        assert answer is not None
        assert (answer["type"], answer["id"]) == ("result", job_id)
        assert decode_result(answer["result"]).statistics.entries_out == 5000
    assert helper.end() == (0, b"")


def test_it_ends_in_the_middle_of_jobs(helper: Spoken, tree: Tree) -> None:
    helper.hear()
    for job_id in range(20):
        helper.say(job_message(tree, job_id))
    assert helper.end() == (0, b"")


def test_failed_jobs_are_reported_and_cost_nothing_else(helper: Spoken, tree: Tree) -> None:
    helper.hear()
    (Path(tree.directory) / tree.runs[0][0][0].file).rename(tree.directory + "/away")
    helper.say(job_message(tree, 1))
    answer = helper.hear()
    assert answer is not None
    assert (answer["type"], answer["id"], answer["error"][0], answer["error"][4]) == ("error", 1, "storage", 2)
    broken = job_message(tree, 2)
    broken["job"][6] = [4096, 12, "no such codec", 1]
    (Path(tree.directory) / "away").rename(tree.directory + f"/{tree.runs[0][0][0].file}")
    helper.say(broken)
    answer = helper.hear()
    assert answer is not None
    assert (answer["type"], answer["id"]) == ("error", 2)
    helper.say(job_message(tree, 3))
    answer = helper.hear()
    assert answer is not None
    assert answer["type"] == "result"
    assert helper.end() == (0, b"")


def test_a_cancelled_job_is_reported(helper: Spoken, tree: Tree) -> None:
    helper.hear()
    helper.say(encode_message(job_message(tree, 1)) + encode_message({"type": "cancel", "id": 1}))
    answer = helper.hear()
    assert answer is not None
    # The job may have been faster.
    assert answer.get("error", ["cancelled"]) == ["cancelled"]
    helper.say({"type": "cancel", "id": 77})
    helper.say(job_message(tree, 2))
    answer = helper.hear()
    assert answer is not None
    assert answer["type"] == "result"


@pytest.mark.parametrize(
    "message",
    [
        lambda: b"\xff\xff\xff\xff",
        lambda: b"\0\0\0\2{}",
        lambda: encode_message({"type": "unknown"}),
        lambda: encode_message({"type": "job", "id": 1, "kind": "flush", "job": []}),
        lambda: encode_message({"type": "job"}),
    ],
)
def test_it_ends_loudly_on_what_it_does_not_understand(helper: Spoken, message: Callable[[], bytes]) -> None:
    helper.hear()
    helper.say(message())
    assert helper.hear() is None
    status, errors = helper.end()
    assert status == 1
    assert b"Error" in errors


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priorities")
def test_only_compactions_that_nothing_waits_for_wait_for_an_idle_processor(tree: Tree) -> None:
    def policy(job: Job) -> tuple[int, int]:
        seen = []

        def work() -> None:
            idles = lower_priority(job)
            assert idles == (os.sched_getscheduler(get_native_id()) == os.SCHED_IDLE)
            seen.append((os.sched_getscheduler(get_native_id()), os.getpriority(os.PRIO_PROCESS, get_native_id())))

        thread = Thread(target=work)
        thread.start()
        thread.join()
        return seen[0]

    own = os.getpriority(os.PRIO_PROCESS, 0)
    plan = Compaction(0, (0,), tree.runs[0], tree.runs[0], (), (), True, "test")
    compaction = tree.compaction_job(plan, 20_000, 4096)
    flush = tree.flush_job([((), {b"k": b"v"})])
    assert policy(flush) == (os.SCHED_OTHER, min(19, own + NICE_FLUSH))
    assert policy(replace(flush, urgent=True)) == (os.SCHED_OTHER, own)
    assert policy(replace(compaction, urgent=False))[0] == os.SCHED_IDLE
    assert policy(compaction) == (os.SCHED_OTHER, min(19, own + NICE_COMPACTION))


def test_messages_are_found_one_after_the_other() -> None:
    stream = io.BytesIO(encode_message({"type": "a"}) + encode_message({"type": "b"}))
    assert [read_message(stream.read), read_message(stream.read)] == [{"type": "a"}, {"type": "b"}]


def test_it_imports_no_face() -> None:
    """Writers wait for the first flush, and so for its start: half of the imports are of what jobs do not need."""
    *words, boot, paths = own_command()
    look = "print(*sys.modules)"
    assert boot.endswith("import main; main()")
    done = subprocess.run(
        [*words, boot.removesuffix("main()") + look, paths], capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    assert "flin.engine.background.merging" in modules
    assert not {"flin.engine.engine", "flin.engine.view", "flin.engine.tree.store"} & set(modules)
