"""A new key for an encrypted database, while it is open.

The file of the data keys is written anew: one more data key, all sealed by the user's new key. That is one rename, so
after a crash either key opens the database, the old one or the new one, and both hold what was written. From then on
new files are sealed with the new data key; merges move over what lies in old ones; the next open after no file needs an
old data key any more drops it (sealed_files.forget_unused).

Writers of segments and jobs take the newest data key when they begin a file. So a job that is under way may still end a
file of the old one: it stays readable.
"""

from __future__ import annotations

from flin.engine.disk import data_keys
from flin.engine.disk.cipher import KEY_BYTES
from flin.engine.disk.data_keys import EncryptionKey, key_of
from flin.engine.disk.file_name import KEYS
from flin.engine.disk.fs import join
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.reentry import holds_lock
from flin.engine.tree.store import Store
from flin.errors import EncryptionError, StorageError


@holds_lock
def rotate(store: Store, new_key: EncryptionKey) -> None:
    """Seal the keys with the new one. EncryptionError if the database is not encrypted; StorageError if the file cannot
    be written: then the old key opens the database, or the new one."""
    key, options = key_of(new_key), store.options
    fs = options.fs
    if not isinstance(fs, SealedFileSystem):
        raise EncryptionError(f"{store.directory} is not encrypted: there is no key that could be changed")
    with store.editing():
        keys = fs.keys.with_another(options.random_bytes(KEY_BYTES))
        try:
            data_keys.write(fs.raw, store.directory, keys, key, options.random_bytes)
        except OSError as error:
            raise StorageError("write", join(store.directory, KEYS), error) from error
        fs.keys = keys
        store.end_segment()
