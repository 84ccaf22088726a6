"""Another number of groups: a database, or a directory of groups, copied to a new one, key by key.

Nothing is written before all sources are open, locked, and looked through for what would not fit. At the end each new
database is opened again and must hold what was written into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Final, TypeAlias

from flin.cluster.resize.copying import Copying
from flin.cluster.resize.places import Place
from flin.cluster.resize.source_group import SourceGroup
from flin.cluster.resize.staging import Staging
from flin.cluster.resize.target_group import TargetGroup
from flin.engine.engine import Engine, store_of
from flin.engine.entry import Entry
from flin.engine.options import MIN_MEMORY_LIMIT_BYTES, Options
from flin.engine.tree.store import Store
from flin.errors import CorruptionError, FlinError, StorageError
from flin.net.batch.namespaces import MAX_DATABASES
from flin.net.scripting.functions import maybe_clash

OpenUnchanged: TypeAlias = Callable[[str, int], AbstractContextManager[Engine]]
"""Opens the database in a directory, with so many bytes of memory, and changes no file."""


class Resizing:
    """One run into a new directory."""

    def __init__(
        self,
        sources: Sequence[Place],
        staging: Staging,
        open_unchanged: OpenUnchanged,
        memory_limit: int,
        writing: Options | None = None,
    ) -> None:
        """writing: the target's file system, clock and runner."""
        self._sources: Final = sources
        self._writing: Final = writing or Options()
        self._staging: Final = staging
        self._open_unchanged: Final = open_unchanged
        # A quarter for reading: a scan needs a few blocks. Writing makes generations, and merges them.
        self._source_bytes: Final = _share(memory_limit // 4, len(sources))
        self._target_bytes: Final = _share(memory_limit * 3 // 4, staging.workers)
        self._now_ms: Final = self._writing.clock_ms()
        self._copying = Copying((), self._now_ms)
        self._total = 0

    @property
    def progress(self) -> str:
        return f"{self._copying.copied:,} of {self._total:,} keys"

    def run(self) -> list[int]:
        """The number of keys of each new database. LockedError, CorruptionError, FormatVersionError; StorageError, also
        for what cannot be copied."""
        with ExitStack() as stack:
            sources = [self._opened(place, stack) for place in self._sources]
            namespaces, shared = self._copyable(sources)
            self._total = sum(source.count() for source in sources)
            directories = self._staging.begin()
            targets = self._fill(directories, sources, namespaces, shared)
            counts = self._check(directories, targets)
        self._staging.finish()
        return counts

    def _opened(self, place: Place, stack: ExitStack) -> SourceGroup:
        engine = stack.enter_context(self._open_unchanged(place.directory, self._source_bytes))
        return SourceGroup(engine, place.group, self._now_ms)

    def _copyable(self, sources: Sequence[SourceGroup]) -> tuple[range, dict[bytes, Entry]]:
        """The namespaces to copy, and the entries that every target gets. StorageError if anything has no place in the
        target."""
        if self._staging.workers == 1 and self._sources[0].group is None:
            return range(MAX_DATABASES), sources[0].libraries() | sources[0].order_of_databases()
        libraries: dict[bytes, Entry] = {}
        of_groups = [source.libraries() for source in sources]
        for source, found in zip(sources, of_groups, strict=True):
            others = ", ".join(str(database) for database in source.databases() if database)
            if others:
                reason = f"groups have database 0 alone, and there are keys in database {others}, too"
                raise StorageError("resize", source.path, reason)
            for stored, library in found.items():
                if libraries.setdefault(stored, library) != library:
                    name = stored.rpartition(b":")[2].decode()
                    raise StorageError("resize", source.path, f"its library {name} is not that of the groups before it")
        if any(found.keys() != libraries.keys() for found in of_groups) and (clash := maybe_clash(libraries)):
            name, one, other = (each.decode() for each in clash)
            reason = f"the libraries {one} and {other}, of different groups, both have a function {name}: delete one"
            raise StorageError("resize", sources[0].path, reason)
        return range(1), libraries

    def _fill(
        self,
        directories: Sequence[str],
        sources: Sequence[SourceGroup],
        namespaces: range,
        shared: dict[bytes, Entry],
    ) -> list[TargetGroup]:
        with ExitStack() as stack:
            shards = max(source.shards for source in sources)  # servers may be started with this number
            made = [stack.enter_context(self._made(directory, shards)) for directory in directories]
            targets = [TargetGroup(store_of(engine)) for engine in made]
            self._copying = Copying(targets, self._now_ms)
            for source in sources:
                for namespace in namespaces:
                    self._copying.copy(source, namespace)
            self._copying.end(shared)
        return targets

    @contextmanager
    def _made(self, directory: str, shards: int) -> Iterator[Engine]:
        """The clock stands still: no key expires while it is copied and counted. Nothing is synced before the end: a
        target that is not finished is refused anyway."""
        options = replace(
            self._writing,
            sync="never",
            memory_limit=self._target_bytes,
            shards=shards,
            value_cache=False,
            clock_ms=lambda: self._now_ms,
        )
        engine = Engine(Store(directory, options))
        try:
            yield engine
        except BaseException:
            with suppress(FlinError):  # a full disk refuses this, too; what is raised says why it ends
                engine.close(flush=False)
            raise
        engine.close()

    def _check(self, directories: Sequence[str], targets: Sequence[TargetGroup]) -> list[int]:
        counts = []
        for directory, target in zip(directories, targets, strict=True):
            with self._open_unchanged(directory, self._source_bytes) as written:
                found = target.check(written)
            counts.append(sum(found[namespace] for namespace in found if namespace < MAX_DATABASES))
        if sum(counts) != self._copying.copied:
            reason = f"{sum(counts):,} keys are in the new groups, and {self._copying.copied:,} were copied"
            raise CorruptionError(directories[0], 0, reason)
        return counts


def _share(memory_bytes: int, engines: int) -> int:
    return max(MIN_MEMORY_LIMIT_BYTES, memory_bytes // engines)
