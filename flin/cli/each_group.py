"""A command on a directory: on the database that it is, or on each of its groups in turn, which are named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from flin.cli.failure import report
from flin.cli.overlay import OverlayFileSystem
from flin.cli.parsing import database_directory
from flin.cluster.resize.places import Place, places_in
from flin.engine.disk.lock import lock_directory
from flin.engine.options import wall_clock_ms
from flin.errors import FlinError


def places_of(text: str) -> list[Place]:
    """The databases in the directory that an argument names; UsageError if there are none."""
    return places_in(os.path.abspath(database_directory(text)))


def each_group(places: list[Place], run: Callable[[Place], int], *, heading: bool = True, locks: bool = True) -> int:
    """The worst of the exit codes. An error in one group is printed, and does not keep the others from their turn.

    No server may have the groups open, nor begin meanwhile: LockedError (unless nothing of theirs is read)."""
    if places[0].group is None:
        return run(places[0])
    with held(places) if locks else nullcontext():
        return max(_run(place, run, heading) for place in places)


@contextmanager
def held(places: list[Place]) -> Iterator[None]:
    """No server begins to serve the groups; LockedError if one does."""
    if places[0].group is None:
        yield
        return
    lock = lock_directory(OverlayFileSystem(), os.path.dirname(places[0].directory), wall_clock_ms())
    try:
        yield
    finally:
        lock.release()


def _run(place: Place, run: Callable[[Place], int], heading: bool) -> int:
    if heading:
        print(f"{name_of(place)}:", flush=True)  # before what goes to stderr
    try:
        return run(place)
    except BrokenPipeError:
        raise
    except (FlinError, OSError) as error:
        return report(error)


def name_of(place: Place) -> str:
    """Example: group-01 (slots 8192-16383)."""
    name = os.path.basename(place.directory)
    return f"{name} (slots {place.group.first}-{place.group.last})" if place.group else name
