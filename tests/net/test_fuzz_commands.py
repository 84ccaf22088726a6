"""The fuzzer of the commands: its corpus for ever, and a short run that is the same every time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fuzz.commands import CORPUS, Failure, check, count_replies, random_requests
from tests.net.generator import Generator
from tests.net.raw_client import encode_request
from tests.net.serving import ServerThread

PIPELINES = 60  # of 50 requests each
SEED = 7


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ServerThread() as server:
        yield server.port


@pytest.mark.parametrize("name", sorted(path.name for path in CORPUS.iterdir()))
def test_corpus(port: int, name: str) -> None:
    check(port, (CORPUS / name).read_bytes())


def test_random_requests(port: int) -> None:
    source = Generator(SEED)
    for _ in range(PIPELINES):
        count_replies(port, random_requests(source, 50))


def test_the_check_finds_a_closed_connection(port: int) -> None:
    with pytest.raises(Failure):
        check(port, encode_request([b"QUIT"]))
