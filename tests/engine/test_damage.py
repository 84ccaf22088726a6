"""Damage on the disk: any bit turned over and any file gone is detected or harmless, never a wrong answer.

Harmless is what nobody reads, and what recovery may take for a torn tail: frames that were never synced. What a damaged
database answers is right as far as it answers; it raises nothing but documented errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from flin.errors import CorruptionError, FlinError, FormatVersionError
from flin.testing import ManualClock, Personality, SimulatedDisk, crash
from flin.testing.model import Expectation, view
from tests.engine.workload import PATH, Operation, Run, Scene

DETECTED = (CorruptionError, FormatVersionError)

BLOCK = tuple((b"m%03d" % number, b"value %d" % number * (number % 4)) for number in range(40))
SCENES: dict[str, tuple[Scene, list[Operation]]] = {
    "wal": (Scene("never"), [("put_sync", b"a", b"1"), ("put_many", BLOCK[:3]), ("put", b"b", b"2"), ("delete", b"a")]),
    "tables": (
        Scene("always"),
        [("put_many", BLOCK), ("flush",), ("put", b"a", b"1", 100.0), ("delete_range", b"m010", b"m020"), ("flush",)],
    ),
    "shards": (Scene("always", shards=4), [("put_many", BLOCK), ("compact",), ("delete", b"m001"), ("flush",)]),
    "compacted": (Scene("always"), [("put_many", BLOCK), ("flush",), ("put_many", BLOCK[::2]), ("compact",)]),
}


def _prepare(name: str) -> tuple[Scene, SimulatedDisk, Expectation]:
    scene, workload = SCENES[name]
    run = Run(scene, record=False)
    run.open()
    for operation in workload:
        run.step(operation)
    image = crash(run.disk, Personality.KILLED, _never)
    run.abandon()
    return scene, image, run.model.expectation()


def _answers(scene: Scene, disk: SimulatedDisk, expectation: Expectation) -> str:
    """What came of opening and reading the damaged disk; AssertionError for a wrong answer."""
    clock = ManualClock()
    try:
        engine = scene.open(disk, clock, "damaged")
    except DETECTED:
        return "open"
    try:
        return _read_all(engine, expectation, clock.now_ms)
    finally:
        _close(engine)


def _read_all(engine: Any, expectation: Expectation, now_ms: int) -> str:
    allowed = [view(state, now_ms) for state in expectation.allowed(power_cut=True)]
    candidates = [state for state in allowed if _agrees(engine, state)]
    assert candidates, "a get gave what was never there"
    try:
        found = dict(engine.scan())
        counted = len(engine)
    except DETECTED:
        return "scan"
    assert found in allowed
    assert counted == len(found)
    return "verify" if list(engine.verify()) else "harmless"


def _agrees(engine: Any, state: dict[bytes, bytes]) -> bool:
    """Whether every get that answers at all answers as this state would."""
    for key in [*state, b"a", b"absent", b"m010"]:
        try:
            if engine.get(key) != state.get(key):
                return False
        except DETECTED:
            continue
    return True


def _close(engine: Any) -> None:
    try:
        engine.close()
    except FlinError:
        return


def _flip(name: str, step: int) -> dict[str, int]:
    """Every step-th bit of every file, one at a time; how often each outcome came."""
    scene, image, expectation = _prepare(name)
    outcomes: dict[str, int] = {}
    for path, content in image.files().items():
        if path.endswith("LOCK"):
            continue
        for bit in range(Random(path).randrange(step), len(content) * 8, step):
            disk = crash(image, Personality.KILLED, _never)
            disk.flip(path, bit)
            try:
                outcome = _answers(scene, disk, expectation)
            except Exception as error:
                raise AssertionError(f"{name}: bit {bit} of {path}: {error!r}") from error
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


@pytest.mark.parametrize("name", SCENES)
def test_flipped_bits(name: str) -> None:
    outcomes = _flip(name, 32)
    assert outcomes["open"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_more_flipped_bits(name: str) -> None:
    assert _flip(name, 8)["open"] > 100


def _subsets(paths: list[str]) -> Iterator[list[str]]:
    for number in range(1, 1 << len(paths)):
        yield [path for index, path in enumerate(paths) if number >> index & 1]


@pytest.mark.parametrize("name", SCENES)
def test_missing_files(name: str) -> None:
    """Whichever files are gone: detected, as long as any other is left that knows of them."""
    scene, image, expectation = _prepare(name)
    paths = [path for path in image.files() if path.startswith(PATH) and not path.endswith("LOCK")]
    for lost in _subsets(paths):
        disk = crash(image, Personality.KILLED, _never)
        for path in lost:
            disk.lose(path)
        if len(lost) == len(paths):
            continue  # nothing is left to know it by: an empty directory
        outcome = _answers_without_wal(scene, disk, expectation, lost)
        assert outcome in ("open", "wal"), f"{lost} are gone and nobody noticed: {outcome}"


def _answers_without_wal(scene: Scene, disk: SimulatedDisk, expectation: Expectation, lost: list[str]) -> str:
    """Segments that nothing names yet may be missing unnoticed: a directory can hold none of them after a crash."""
    if all(path.endswith(".wal") for path in lost):
        clock = ManualClock()
        try:
            engine = scene.open(disk, clock, "lost")
        except DETECTED:
            return "open"
        found = dict(engine.scan())
        _close(engine)
        assert found in [view(state, clock.now_ms) for state in expectation.states]
        return "wal"
    return _answers(scene, disk, expectation)


def _never(_: int) -> int:
    raise AssertionError("a killed process leaves no choice")
