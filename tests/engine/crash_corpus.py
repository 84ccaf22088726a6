"""Workloads that failed once, as the long run printed them: a fault that was found stays found.

To add one, take what `python -m flin.testing.crash` prints as "shortened", with a line that says what was wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flin.testing.crash_model import CrashModel
from flin.testing.following import ReadElsewhere
from flin.testing.operation import (
    Advance,
    Batch,
    Crash,
    Delete,
    DeleteMany,
    DeletePrefix,
    DeleteRange,
    Expire,
    Fill,
    Incr,
    Layer,
    Maintenance,
    Put,
    PutMany,
    Read,
    Refused,
    Reopen,
    Replace,
    Sweep,
    TakeSnapshot,
)
from flin.testing.run import EngineSetup, Workload


@dataclass(frozen=True)
class Past:
    name: str
    """What was wrong, and where."""
    setup: EngineSetup
    workload: Workload
    fault: str = ""
    """A key of faulty.KINDS, if the n-th call must fail; every n is tried."""
    is_slow: bool = False
    """Too many calls for the ordinary suite."""
    begins: int = 0
    """The operation from which on crashes are tried: what comes before only makes the database."""


CORPUS: Final = (
    Past(
        "oracle: a commit of nothing was counted as answered behind a commit whose sync had failed",
        EngineSetup("always"),
        [Fill(447, 30), PutMany((), ttl=0.5)],
        fault="io sticky",
    ),
    Past(
        "oracle: a commit whose sync failed is refused, and may be seen all the same",
        EngineSetup("never", shards=16, window_bytes=4096),
        [PutMany(((b"a", b"59"),), sync=True), Put(b"ab", b"37", sync=True), Fill(394, 200), Read()],
        fault="io sticky",
        is_slow=True,
    ),
    Past(
        "WAL: what a refused commit left in its segment must not count once others follow",
        EngineSetup("interval"),
        [Put(b"a", b"1"), Refused(Put(b"b", b"2" * 600)), Put(b"c", b"3"), Refused(Put(b"b", b"4" * 600)), Incr(1)],
    ),
    Past(
        "recovery: a segment whose sync failed was trusted after a reopen, and is copied now",
        EngineSetup("never"),
        [Put(b"a", b"1", sync=True), Put(b"b", b"2"), Reopen(), Put(b"a", b"3", sync=True)],
        fault="sync",
    ),
    Past(
        "recovery: an end frame whose sync had failed counted as the end of its segment, which a power cut then took",
        EngineSetup("always"),
        [Put(b"a", b"1"), Reopen(flush=False), Put(b"b", b"2", sync=True)],
        fault="sync",
    ),
    Past(
        "compactor: what the new manifest names was removed when memory ran out just behind the edit",
        EngineSetup("never"),
        [Incr(68), Maintenance("flush"), Put(b"ab", b"1"), Maintenance("compact"), Reopen()],
        fault="memory",
    ),
    Past(
        "opening: of two unfinished copies of a segment the empty one was taken, after a crash during a recovery",
        EngineSetup("always"),
        [Put(b"a", b"1"), Refused(Put(b"c", b"4" * 600)), Reopen(flush=False)],
    ),
    Past(
        "sweep: keys that had expired were forgotten when their tombstones were refused",
        EngineSetup("always"),
        [Put(b"a", b"1", ttl=0.001), Put(b"b", b"2", ttl=0.001), Sweep(), Put(b"c", b"3")],
        fault="full",
    ),
    Past(
        "oracle: of two states that show the same, the one that still held what had expired was taken for the other",
        EngineSetup("never", shards=16, window_bytes=4096),
        [
            PutMany(((b"", b"53"), (b"c", b"42"), (b"{a}1", b"08" * 5)), ttl=5.0),
            Advance(3600.0),
            Put(b"f150", b"53" * 300),
            Put(b"f050", b"23" * 300, sync=True),
            Batch((DeleteRange(b"b", b"f050"), Delete(b"a", sync=False))),
            Crash(CrashModel.PREFIXES, 44107),
            Put(b"{a}1", b"", ttl=0.5),
        ],
    ),
    Past(
        "engine: a close behind a failed sync said nothing, though answered writes were not durable",
        EngineSetup("always"),
        [Put(b"f050", b"13", sync=False), Put(b"a", b"1"), Reopen()],
        fault="io sticky",
    ),
    Past(
        "engine: an open that failed in its first compaction kept the directory locked",
        EngineSetup("always", shards=16, window_bytes=4096),
        [Put(b"\xff\x01x", b"06"), Maintenance("compact"), DeletePrefix(b""), Reopen()],
        fault="memory",
        is_slow=True,
    ),
    Past(
        "oracle: where a sweep is refused, what has expired counts",
        EngineSetup("never", shards=4),
        [Put(b"a", b"1", ttl=0.5), Maintenance("flush"), Advance(1.0), Sweep()],
        fault="io",
    ),
    Past(
        "oracle: a commit that changes an expiry alone counts too where only its sync ended early",
        EngineSetup("always", shards=16, window_bytes=4096),
        [Put(b"a", b"1"), Expire(b"a", 0.5), DeleteMany((b"b",), sync=True)],
        fault="memory late",
    ),
    Past(
        "engine: a flush whose edit was refused removed the segments that it had wanted to name as value files",
        EngineSetup("never", window_bytes=0, value_threshold=8),
        [Layer(50, 3, 600, 0), Reopen()],
        fault="full sticky",
    ),
    Past(
        "engine: a snapshot that outlived a close opened its tables by path, in whatever database was there by then",
        EngineSetup("always"),
        [Put(b"new", b"0"), Maintenance("flush"), Reopen(), TakeSnapshot(), Replace()],
    ),
    Past(
        "engine: and where the next engine had merged them, told of a missing file",
        EngineSetup("always"),
        [Fill(0, 60), Reopen(), TakeSnapshot(), Maintenance("compact"), Reopen()],
        begins=1,
    ),
    Past(
        "reader: an error while it looked for the keys of its database came out as it was",
        EngineSetup("always", window_bytes=4096),
        [Delete(b""), ReadElsewhere()],
        fault="io",
    ),
)
