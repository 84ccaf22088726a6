"""The fuzzer of the commands against Flin alone: its corpus of pipelines, and what its checks find."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz import commands
from fuzz.commands import FREE, HARMFUL, Failure, any_words, check, compared, count_replies
from fuzz.surface import files_in
from tests.net.fake_store import FakeStore
from tests.net.generator import PLAIN, Generator
from tests.net.raw_client import RawClient, encode_request
from tests.net.serving import ServerThread
from tests.source import ROOT
from tests.tool import needs_tool

PIPELINES = files_in(ROOT / "fuzz" / "corpus" / "pipelines")
UNBOUNDED = 60
SEED = 7


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ServerThread() as server:
        yield server.port


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_corpus(port: int, path: Path) -> None:
    check(port, path.read_bytes())


def test_any_words(port: int) -> None:
    source = Generator(SEED)
    with RawClient(port) as client:
        for _ in range(UNBOUNDED):
            count_replies(client, [request.words for _ in range(50) for request in any_words(source)])


def test_the_checks_find_a_closed_connection(port: int) -> None:
    with pytest.raises(Failure):
        check(port, encode_request([b"QUIT"]))
    with pytest.raises(Failure), RawClient(port) as client:
        count_replies(client, [[b"GET", b"k"], [b"QUIT"]])


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tool("redis-server")
    commands.close()
    monkeypatch.setattr(FakeStore, "commit", lambda store, batch, ranges=(): store.position)
    chance = random.Random(SEED)
    some = [b"\0" + chance.randbytes(200) for _ in range(100)]
    with pytest.raises(Failure, match="Flin"):
        any(map(commands.one_input, some))
    monkeypatch.undo()
    commands.one_input(some[0])
    commands.close()


def test_a_difference_between_subscribers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tool("redis-server")
    commands.close()
    chance = random.Random(SEED)
    some = [bytes((commands.PUBSUB_HEAD,)) + chance.randbytes(300) for _ in range(5)]
    for data in some:
        commands.one_input(data)
    monkeypatch.setattr("flin.net.messages.pubsub.Subscriptions.count", lambda mine, kind: len(mine.names[kind]))
    with pytest.raises(Failure, match="Flin"):
        any(map(commands.one_input, some))
    commands.close()


def test_a_difference_between_rules_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tool("redis-server")
    commands.close()
    chance = random.Random(SEED)
    some = [bytes((commands.USERS_HEAD,)) + chance.randbytes(200) for _ in range(12)]
    for data in some:
        commands.one_input(data)
    monkeypatch.setattr("flin.net.access.selector.Selector.set_category", lambda selector, category, allowed: None)
    with pytest.raises(Failure, match="Flin"):
        any(map(commands.one_input, some))
    commands.close()


def test_what_is_made_is_known() -> None:
    assert FREE.keys() - {"nosuchcommand", "watch"} <= PLAIN.keys()
    assert set(HARMFUL) <= PLAIN.keys()
    source = Generator(SEED)
    assert {request.name for _ in range(5000) for request in compared(source)} >= PLAIN.keys() | FREE.keys()


def test_a_missing_invalidation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tool("redis-server")
    commands.close()
    chance = random.Random(SEED)
    some = [bytes((commands.TRACKING_HEAD,)) + chance.randbytes(300) for _ in range(8)]
    for data in some:
        commands.one_input(data)
    monkeypatch.setattr("flin.net.messages.tracking.Tracking._tell_readers", lambda *_: None)
    with pytest.raises(Failure, match="Flin"):
        any(map(commands.one_input, some))
    commands.close()
