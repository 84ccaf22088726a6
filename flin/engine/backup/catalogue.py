"""A directory of backups of one database: the files of all of them, each once, and a catalogue that says whose they
are.

    BACKUP/LOCK                        held while a backup is made or removed
    BACKUP/catalogue/00000001.json     one backup (entry.py); written last, by rename
    BACKUP/files/<name>                files of the database, named as there

A name is never used twice (file_name.py), so a file that is there already need not be copied again. A file that no
entry names is what an interrupted backup left; the next one removes it.
"""

from __future__ import annotations

import re
from typing import Final

from flin.engine.backup import entry as entry_format
from flin.engine.backup.entry import Entry, StoredFile
from flin.engine.backup.file_copy import checksum_of
from flin.engine.disk.file_name import GROUPS, MANIFEST, UNFINISHED, UNFINISHED_COPY, maybe_parse
from flin.engine.disk.fs import FileSystem, append_all, join
from flin.engine.tree.foreign import maybe_foreign
from flin.errors import CorruptionError, FlinError, StorageError

_NAME: Final = re.compile(r"([0-9]{8,18})\.json")
_TEMPORARY: Final = "new.tmp"
_CATALOGUE: Final = "catalogue"
_FILES: Final = "files"
_OTHERS: Final = {MANIFEST, GROUPS, UNFINISHED, UNFINISHED_COPY}


class Catalogue:
    """A directory of backups."""

    def __init__(self, fs: FileSystem, path: str) -> None:
        self.path: Final = path
        self._fs: Final = fs
        self._entries: Final = join(path, _CATALOGUE)
        self.files: Final = join(path, _FILES)

    def create(self) -> None:
        """Make the directory if it is absent. StorageError if it is something else, or the disk refuses."""
        fs = self._fs
        try:
            fs.make_directory(self.path)
            names = fs.names(self.path)
            found = maybe_foreign(names)
            for name in names:
                if name in _OTHERS or maybe_parse(name):
                    found = f"{name} of a database"
            if found:
                raise StorageError("back up into", self.path, f"it holds {found}; name another directory")
            fs.make_directory(self._entries)
            fs.make_directory(self.files)
        except OSError as error:
            raise StorageError("back up into", self.path, error) from error

    def numbers(self) -> list[int]:
        """Those of its backups, ascending. StorageError if it is no directory of backups."""
        try:
            names = self._fs.names(self._entries)
        except (FileNotFoundError, NotADirectoryError):
            raise StorageError("read", self.path, "it holds no backups: there is no catalogue in it") from None
        except OSError as error:
            raise StorageError("read", self._entries, error) from error
        return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)) is not None)

    def entry(self, number: int) -> Entry:
        """One backup. CorruptionError, FormatVersionError, StorageError."""
        path = self.entry_path(number)
        try:
            file = self._fs.open(path)
            try:
                data = file.pread(file.size(), 0)
            finally:
                file.close()
        except FileNotFoundError:
            known = ", ".join(map(str, self.numbers())) or "none"
            raise StorageError("read", self.path, f"it has no backup {number}; there are: {known}") from None
        except OSError as error:
            raise StorageError("read", path, error) from error
        return entry_format.decode(data, path, number)

    def entries(self) -> list[Entry]:
        """All backups, oldest first. CorruptionError if one is damaged."""
        return [self.entry(number) for number in self.numbers()]

    def entry_path(self, number: int) -> str:
        return join(self._entries, f"{number:08d}.json")

    def add(self, entry: Entry) -> None:
        """Durable on return. All its files must be. OSError."""
        temporary = join(self._entries, _TEMPORARY)
        if self._fs.is_file(temporary):
            self._fs.remove(temporary)
        file = self._fs.create(temporary)
        try:
            append_all(file, entry_format.encode(entry))
            file.sync()
        finally:
            file.close()
        self._fs.rename(temporary, self.entry_path(entry.number))
        self._fs.sync_directory(self._entries)

    def prune(self, keep: int) -> list[int]:
        """Remove all backups but the newest ones. Returns the numbers of the removed ones. OSError."""
        numbers = self.numbers()
        gone = numbers[: max(0, len(numbers) - keep)]
        for number in gone:
            self._fs.remove(self.entry_path(number))
        if gone:
            self._fs.sync_directory(self._entries)  # before any of their files goes
            self.remove_unnamed(self.entries())
        return gone

    def remove_unnamed(self, entries: list[Entry]) -> None:
        """Remove the files that none of the entries, which are all, names. OSError."""
        named = {file.name for entry in entries for file in entry.files}
        for name in self._fs.names(self.files):
            if name not in named and maybe_parse(name) is not None:
                self._fs.remove(join(self.files, name))

    def verify(self, numbers: list[int]) -> list[FlinError]:
        """Read these backups whole, each file once for each checksum that they have of it: one that was lost and copied
        again may have a short and a long one. Returns what is wrong."""
        problems: list[FlinError] = []
        checked: set[StoredFile] = set()
        for number in numbers:
            try:
                entry = self.entry(number)
            except FlinError as error:
                problems.append(error)
                continue
            for file in entry.files:
                if file in checked:
                    continue
                checked.add(file)
                name, size, checksum = file
                path = join(self.files, name)
                try:
                    found = checksum_of(self._fs, path, checksum)
                except FileNotFoundError:
                    problems.append(CorruptionError(path, 0, f"backup {number} names this file, and it is not there"))
                except OSError as error:
                    problems.append(StorageError("read", path, error))
                except CorruptionError as error:
                    problems.append(error)
                else:
                    if found != (size, checksum):
                        problems.append(CorruptionError(path, 0, _difference(found, (size, checksum))))
        return problems


def _difference(found: tuple[int, str], wanted: tuple[int, str]) -> str:
    if found[0] != wanted[0]:
        return f"it is {found[0]} bytes long, the backup had {wanted[0]}"
    return f"its checksum is {found[1]}, the backup's was {wanted[1]}"
