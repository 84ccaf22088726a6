"""The embedded engine.

import flin.engine

with flin.engine.open("path") as db:
    db.put(b"key", b"value")
    assert db.get(b"key") == b"value"
"""

from flin.engine.backup.backup import Backup
from flin.engine.backup.checkpoint import Checkpoint
from flin.engine.backup.restoring import backups, prune_backups, restore, verify_backup
from flin.engine.batch import WriteBatch
from flin.engine.engine import Engine, open  # the name that dbm and shelve use too
from flin.engine.feed import Event, Feed
from flin.engine.options import Options
from flin.engine.snapshot import Snapshot
from flin.engine.transaction import Transaction
from flin.errors import (
    ClosedError,
    CodecError,
    ConflictError,
    CorruptionError,
    EncryptionError,
    FeedGapError,
    FencedError,
    FlinError,
    FormatVersionError,
    HelperDiedError,
    ImportDataError,
    JobFailedError,
    LimitError,
    LockedError,
    NoDatabaseError,
    PeerError,
    ReadOnlyError,
    ReentrantCallError,
    StallTimeout,
    StorageError,
    WrongKeyError,
)

__all__ = [
    "Backup",
    "Checkpoint",
    "ClosedError",
    "CodecError",
    "ConflictError",
    "CorruptionError",
    "EncryptionError",
    "Engine",
    "Event",
    "Feed",
    "FeedGapError",
    "FencedError",
    "FlinError",
    "FormatVersionError",
    "HelperDiedError",
    "ImportDataError",
    "JobFailedError",
    "LimitError",
    "LockedError",
    "NoDatabaseError",
    "Options",
    "PeerError",
    "ReadOnlyError",
    "ReentrantCallError",
    "Snapshot",
    "StallTimeout",
    "StorageError",
    "Transaction",
    "WriteBatch",
    "WrongKeyError",
    "backups",
    "open",
    "prune_backups",
    "restore",
    "verify_backup",
]
