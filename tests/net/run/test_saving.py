"""SAVE, BGSAVE and BGREWRITEAOF over a store that is held up and fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from flin.errors import CommandError, StorageError
from flin.net.run import saving as module
from flin.net.run.saving import Saving
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.net.fake_store import FakeStore


class SlowStore(FakeStore):
    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.failure: Exception | None = None

    def sync(self) -> None:
        assert self.may_go_on.wait(PATIENCE_SECONDS)
        if self.failure is not None:
            raise self.failure
        super().sync()


def at_once(callback: Callable[[], None]) -> None:
    callback()


def test_a_save_in_the_background() -> None:
    store = SlowStore()
    saving = Saving(store, lambda: None, at_once)
    assert (saving.save.seconds, saving.save.present_seconds()) == (-1, -1)
    assert saving.begin_save()
    assert saving.save.is_running
    assert saving.save.present_seconds() >= 0
    assert not saving.begin_save(), "one at a time"
    store.may_go_on.set()
    wait_until(lambda: not saving.save.is_running, "it ends")
    assert (saving.save.is_good, saving.save.times, saving.save.seconds) == (True, 1, 0)
    assert saving.begin_save()
    wait_until(lambda: not saving.save.is_running, "it ends")


def test_it_begins_after_the_commit_of_its_tick() -> None:
    later: list[Callable[[], None]] = []
    store = SlowStore()
    store.may_go_on.set()
    saving = Saving(store, lambda: None, later.append)
    assert saving.begin_save()
    assert saving.save.times == 0
    later.pop()()
    wait_until(lambda: saving.save.times == 1, "it ends")


def test_one_without_a_thread_says_so(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    saving = Saving(FakeStore(), lambda: None, at_once)
    with monkeypatch.context() as patch:
        patch.setattr(module, "start_thread", refuse)
        assert saving.begin_save()
    assert not saving.save.is_running
    assert not saving.save.is_good
    assert "no thread could be started" in caplog.text
    assert saving.begin_save(), "the next one may"
    wait_until(lambda: saving.save.is_good, "it ends")


def test_one_that_fails_says_so(caplog: pytest.LogCaptureFixture) -> None:
    store = SlowStore()
    store.may_go_on.set()
    saving = Saving(store, lambda: None, at_once)
    saved_at = saving.saved_at_seconds
    store.failure = StorageError("sync", "wal", OSError(28, "No space left"))
    with caplog.at_level(logging.ERROR, "flin"):
        assert saving.begin_save()
        wait_until(lambda: not saving.save.is_running, "it ends")
    assert not saving.save.is_good
    assert saving.saved_at_seconds == saved_at
    assert "flin-save failed" in caplog.text
    with pytest.raises(StorageError):
        saving.save_now()
    store.failure = None
    saving.save_now()
    assert saving.save.is_good


def test_a_compaction() -> None:
    compacted = threading.Event()
    saving = Saving(FakeStore(), compacted.set, at_once)
    assert saving.begin_compaction()
    assert compacted.wait(PATIENCE_SECONDS)
    wait_until(lambda: not saving.compaction.is_running, "it ends")
    assert saving.compaction.times == 1


def test_a_backup_is_made_after_the_sync_and_one_at_a_time() -> None:
    store, steps = FakeStore(), list[str]()
    store.sync = lambda: steps.append("sync")  # type: ignore[method-assign]
    begun, may_end = threading.Event(), threading.Event()

    def back_up() -> None:
        steps.append("backup")
        begun.set()
        assert may_end.wait(PATIENCE_SECONDS)

    saving = Saving(store, lambda: None, at_once, back_up)
    assert saving.begin_save()
    assert begun.wait(PATIENCE_SECONDS)
    with pytest.raises(CommandError, match="already in progress"):
        saving.save_now()
    saving.sync_now()
    may_end.set()
    wait_until(lambda: not saving.save.is_running, "it ends")
    assert steps == ["sync", "backup", "sync"]


def test_a_backup_that_fails_is_a_save_that_failed() -> None:
    def back_up() -> None:
        raise StorageError("back up into", "there", OSError(28, "No space left"))

    saving = Saving(FakeStore(), lambda: None, at_once, back_up)
    saved_at = saving.saved_at_seconds
    with pytest.raises(StorageError):
        saving.save_now()
    assert (saving.save.is_good, saving.save.times, saving.saved_at_seconds) == (False, 0, saved_at)
    assert saving.begin_save(), "the next one may be made"
    wait_until(lambda: not saving.save.is_running, "it ends")
    assert not saving.save.is_good
