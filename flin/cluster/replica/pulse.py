"""The pulse of a replica: a thread that asks etcd who leads its group, renews the lease while it leads itself, and
tells how much of the log its tables hold.

It never runs ahead of the loop: a worker whose loop hangs does not renew, and so it loses its place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from math import inf
from typing import Final

from flin.cluster.etcd.key_value import KeyValueError, KeyValueStore, Put
from flin.cluster.keys import AppliedValue
from flin.cluster.replica.lease import Clock
from flin.cluster.replica.takeover import APPLIED_SECONDS, Kind, Place, Request, Role
from flin.errors import CorruptionError

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 1.0
"""Then the same is asked of another member: of a lease that leaves time for three tries."""

RETRY_SECONDS: Final = 0.1

LOOP_SECONDS: Final = 1.0
"""A loop that has not run for so long hangs."""

BEAT_SECONDS: Final = 0.25
"""Between two signs of the loop."""


class Pulse:
    """`beat` is called by the loop, each BEAT_SECONDS."""

    def __init__(
        self,
        store: KeyValueStore,
        place: Place,
        applied: tuple[bytes, str],
        *,
        clock: Clock,
        index: Callable[[], int],
        in_tables: Callable[[], int],
        next_applied: Callable[[], int],
        has_room: Callable[[], bool],
        on_change: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """applied: the key, and the start that its value names. index: the number of the leader's next entry, 0 while
        it catches up. in_tables: of the first entry that the tables do not hold. next_applied: of the first that is not
        applied. has_room: whether the disk is not full. on_change: told, in the thread, when the role has changed."""
        self._store = store
        self._place = place
        self._applied = applied
        self._clock = clock
        self._index = index
        self._in_tables = in_tables
        self._next_applied = next_applied
        self._has_room = has_room
        self._told = False, True  # whether it was abreast, and had room
        self._on_change = on_change
        self._on_failure = on_failure
        self._beat_at = clock()
        self._applied_at = -inf
        self._claimed = 0
        self._damage = ""
        self._wake = threading.Event()
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def beat(self) -> None:
        self._beat_at = self._clock()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def end(self) -> None:
        """Ask nothing more, but tell that nobody is here. It waits for a question under way. Idempotent."""
        was_running, self._has_ended = self._thread.is_alive(), True
        self._wake.set()
        if was_running:
            self._thread.join()
            self._put_applied("")

    def hand_over(self, target: tuple[str, str], until: float) -> bool:
        """Give the place away, after `end`, by the same request till its outcome is known. False: it is not known by
        the time that `until` says."""
        request = self._place.handover(target)
        while self._clock() < until:
            if self._ask(request):
                return True
            self._wake.clear()
            self._wake.wait(RETRY_SECONDS)
        return False

    def _run(self) -> None:
        try:
            while not self._has_ended:
                self._wait(self._step())
        except Exception as error:  # the outermost frame of a thread
            logger.exception("the pulse has ended")
            self._on_failure(error)

    def _wait(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _step(self) -> float:
        """Seconds until the next."""
        place, now = self._place, self._clock()
        if now - self._beat_at > LOOP_SECONDS and place.role is Role.LEADING:
            return RETRY_SECONDS
        place.index = self._index()
        role = place.role
        request = place.request(now)
        if request.kind is Kind.CLAIM:
            self._tell_of_claim(1 if place.leader is None else place.leader.epoch + 1)
        is_answered = self._ask(request)
        if place.role is not role:
            self._on_change()
        if not is_answered:
            return RETRY_SECONDS
        is_abreast, has_room = place.is_abreast(self._next_applied()), self._has_room()
        is_news = (is_abreast and not self._told[0]) or has_room != self._told[1]
        if is_news or now - self._applied_at >= APPLIED_SECONDS:
            self._told = is_abreast, has_room
            self._put_applied(self._applied[1], is_abreast=is_abreast, has_room=has_room)
            self._applied_at = now
        return place.pause()

    def _tell_of_claim(self, epoch: int) -> None:
        """Once: while etcd has no majority the same is asked for several times a second."""
        if epoch != self._claimed:
            logger.info("claiming the group, as epoch %d", epoch)
        self._claimed = epoch

    def _ask(self, request: Request) -> bool:
        """Whether there was an answer."""
        sent_at = self._clock()
        try:
            outcome = self._store.txn(request.compares, request.success, request.failure, timeout=ANSWER_SECONDS)
        except KeyValueError as error:
            logger.debug("etcd does not answer: %s", error)
            return False
        try:
            self._place.note(request, outcome, sent_at, self._clock())
        except CorruptionError as error:
            self._tell_damage(str(error))
            return False
        self._damage = ""
        return True

    def _tell_damage(self, text: str) -> None:
        """Once, of a value that no Flin has put. Nothing rests on it, and the same is asked again until it is mended: a
        leader loses its lease meanwhile, unless it has been renewed."""
        if text != self._damage:
            logger.error("%s. Somebody has changed it: the group needs it as it was, or deleted", text)
        self._damage = text

    def _put_applied(self, start: str, *, is_abreast: bool = False, has_room: bool = True) -> None:
        try:
            put = Put(self._applied[0], AppliedValue(self._in_tables(), start, is_abreast, has_room).encode())
            self._store.txn((), (put,), timeout=ANSWER_SECONDS)
        except KeyValueError as error:
            logger.debug("etcd does not answer: %s", error)
