"""The tests of encryption are tested: each of these mistakes must be caught by the test that stands with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pytest

from flin.engine.background import collecting, compactor
from flin.engine.disk import cipher, data_keys, file_name, sealed_files
from flin.engine.disk.cipher import SealKey
from flin.engine.disk.data_keys import DataKeys
from flin.engine.disk.fs import append_all, join
from flin.engine.table.value_files import ValueFiles
from flin.engine.tree import used_keys
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.engine.wal import sealed as wal_sealed
from flin.engine.wal import sealed_writer
from flin.errors import FlinError
from flin.testing import SimulatedDisk
from tests.engine import test_encrypted_values, test_encryption
from tests.engine.disk import test_sealed_files
from tests.engine.wal import test_sealed

Patch = pytest.MonkeyPatch
Caught: TypeAlias = Callable[[Patch], object]


def nonce_is_the_position(patch: Patch) -> None:
    """A frame that is written over an interrupted one has the same place."""

    def pack_head(*fields: Any) -> bytes:
        return original(*fields[:7], fields[2], 0)

    original = wal_sealed.pack_head
    patch.setattr(wal_sealed, "pack_head", pack_head)
    patch.setattr(sealed_writer, "pack_head", pack_head)


def counters_begin_anew(patch: Patch) -> None:
    """A counter belongs to the key of one segment."""
    patch.setattr(sealed_files, "derived", lambda key, salt, purpose: key)


def place_of_a_chunk_is_not_sealed(patch: Patch) -> None:
    """A chunk says where it lies."""
    original = sealed_files._nonce
    patch.setattr(sealed_files, "_nonce", lambda number, is_last: original(0, is_last))


def name_of_a_file_is_not_sealed(patch: Patch) -> None:
    """A file says which one it is."""
    original = sealed_files._purpose
    patch.setattr(sealed_files, "_purpose", lambda path: original(path)[:6])


def header_of_a_frame_is_not_sealed(patch: Patch) -> None:
    """A frame says where it lies, and of which kind it is."""
    original = cipher.maybe_opened
    patch.setattr(wal_sealed, "maybe_opened", lambda key, nonce, sealed, about: original(key, nonce, sealed, b""))
    seal = wal_sealed.FrameSealer.__init__

    def init(self: Any, key: SealKey, *rest: Any) -> None:
        seal(self, key, *rest)
        object.__setattr__(self, "encrypt", lambda nonce, text, about: key.cipher.encrypt(nonce, text, b""))

    patch.setattr(wal_sealed.FrameSealer, "__init__", init)


def place_of_a_value_is_not_sealed(patch: Patch) -> None:
    """A value says where it lies."""
    patch.setattr(wal_sealed, "_pack_offset", lambda offset: b"")


def plain_frames_are_taken(patch: Patch) -> None:
    """Who has no key cannot add anything."""

    def apply(data: Any, path: Any, memtable: Any, found: Any, large: Any, opener: Any) -> None:
        if isinstance(found, wal_frames.Columns):
            memtable.entries.update(zip(found.keys, found.values, strict=True))
        elif found[2] & wal_frames.SEALED:
            original(data, path, memtable, found, large, opener)

    original = wal_replay._apply_sealed
    patch.setattr(wal_replay, "_apply_sealed", apply)


def a_file_goes_on_after_a_failed_write(patch: Patch) -> None:
    """After a failed write nothing is sealed with the same nonces."""

    def write(self: Any) -> None:
        try:
            original(self)
        except OSError:
            self._ended = False
            del self._sizes[:]
            raise

    original = sealed_files.SealedAppendFile._write
    patch.setattr(sealed_files.SealedAppendFile, "_write", write)


def keys_are_not_synced(patch: Patch) -> None:
    """The new file of keys is whole before it takes the old one's place."""

    def write(fs: Any, directory: str, keys: DataKeys, key: bytes, random_bytes: Any) -> None:
        temporary = join(directory, file_name.NEW_KEYS)
        file = fs.create(temporary)
        append_all(file, data_keys.encode(keys, key, random_bytes))
        file.close()
        fs.rename(temporary, join(directory, file_name.KEYS))
        fs.sync_directory(directory)

    patch.setattr(data_keys, "write", write)


def older_keys_are_dropped_at_once(patch: Patch) -> None:
    """A data key stays as long as a file needs it."""
    patch.setattr(used_keys, "_number_of", lambda fs, path: 0)


def keys_are_never_dropped(patch: Patch) -> None:
    """A data key goes when no file needs it any more."""
    patch.setattr(used_keys, "_number_of", lambda fs, path: 1)


def values_are_not_sealed(patch: Patch) -> None:
    """Large values cannot be read either."""
    patch.setattr(SealKey, "seal", lambda self, text, about: bytes(12) + text + bytes(16))
    patch.setattr(SealKey, "maybe_open", lambda self, sealed, about: sealed[12:-16])


def merged_tables_are_not_renewed(patch: Patch) -> None:
    """After compact() no table needs an older data key."""
    patch.setattr(compactor, "has_older_key", lambda fs, path: False)


def values_are_not_renewed(patch: Patch) -> None:
    """Nor does a value."""
    patch.setattr(compactor.Compactor, "_older_files", lambda self, version: ())


def seals_are_not_counted(patch: Patch) -> None:
    """A collected file is full with its seals."""
    patch.setattr(collecting, "SEALED_FRAME_BYTES", 0)
    patch.setattr(collecting, "SEALED_VALUE_BYTES", 0)


def pages_load_what_pointers_say(patch: Patch) -> None:
    """What lies in a value file is longer than the value."""
    patch.setattr(ValueFiles, "_load", lambda self, rows: self._values(rows, nowait=False))


def _files(test: Callable[..., None]) -> Caught:
    def run(patch: Patch) -> None:
        disk = SimulatedDisk()
        disk.make_directory("/db")
        fs = sealed_files.SealedFileSystem(disk, DataKeys({7: b"k" * 32}))
        if test is test_sealed_files.test_nothing_is_sealed_twice_after_a_failed_write:
            test(fs, patch)
        else:
            test(fs)

    return run


def _disk(test: Callable[..., None], *, patched: bool = False) -> Caught:
    def run(patch: Patch) -> None:
        disk = SimulatedDisk(window_bytes=4096)
        test(disk, patch) if patched else test(disk)

    return run


def _renewed(patch: Patch) -> None:
    test_encryption.test_compact_renews_what_is_merged_already(SimulatedDisk(window_bytes=4096), 2000, 1)


def _renewed_values(patch: Patch) -> None:
    test_encryption.test_compact_renews_large_values(SimulatedDisk(window_bytes=4096), 1)


def _collected_once(patch: Patch) -> None:
    test_encrypted_values.watch_merges(patch)
    test_encrypted_values.test_small_values_are_collected_once(64, 1)


BUGS: Final[list[tuple[Callable[[Patch], None], Caught]]] = [
    (
        nonce_is_the_position,
        _disk(test_encryption.test_no_nonce_is_used_twice_where_a_put_was_interrupted, patched=True),
    ),
    (counters_begin_anew, lambda patch: test_encryption.test_no_nonce_is_used_twice(patch)),
    (place_of_a_chunk_is_not_sealed, _files(test_sealed_files.test_chunks_are_neither_moved_nor_cut_off)),
    (name_of_a_file_is_not_sealed, _files(test_sealed_files.test_files_do_not_pass_for_each_other)),
    (header_of_a_frame_is_not_sealed, lambda patch: test_sealed.test_a_frame_in_another_place()),
    (place_of_a_value_is_not_sealed, lambda patch: test_sealed.test_a_large_value_in_another_place()),
    (plain_frames_are_taken, lambda patch: test_sealed.test_frames_that_are_not_sealed_are_refused()),
    (
        a_file_goes_on_after_a_failed_write,
        _files(test_sealed_files.test_nothing_is_sealed_twice_after_a_failed_write),
    ),
    (keys_are_not_synced, _disk(test_encryption.test_a_crash_at_every_step_of_a_rotation)),
    (older_keys_are_dropped_at_once, _disk(test_encryption.test_rotate)),
    (keys_are_never_dropped, _disk(test_encryption.test_rotate)),
    (merged_tables_are_not_renewed, _renewed),
    (values_are_not_renewed, _renewed_values),
    (seals_are_not_counted, _collected_once),
    (pages_load_what_pointers_say, lambda _: test_encrypted_values.test_pages_of_values_that_are_not_in_memory()),
    (values_are_not_sealed, _disk(test_encryption.test_nothing_can_be_read)),
]


@pytest.mark.parametrize(("bug", "caught_by"), BUGS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_mistake_is_caught(bug: Callable[[Patch], None], caught_by: Caught) -> None:
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        with pytest.raises((AssertionError, FlinError, pytest.fail.Exception)):
            caught_by(patch)
