"""The floors of the house, bottom first: a module imports only from its own floor or below.

Types count: an import for annotations alone also ties two files together in a reader's head. A wing (a folder of the
engine, of the server, or of the cluster) is one floor. The engine's own folder holds the words, the modules between the
wings, and the face.
"""

from __future__ import annotations

from typing import Final

from tests.source import module_name, python_files

ENGINE: Final = [
    "reentry checksum thread_start",
    "disk/",
    "options entry key slot boundaries buffers replication",
    "table/",
    "sstable memtable wal/",
    "catalog/",
    "read/",
    "tree/",
    "background/",
    "eviction/",
    "repair/",
    "backup/",
    "typed_keys",
    "pairs mapping_views scan_iterator seekable_iterator codec",
    "feed aio_feed engine view batch snapshot transaction statistics verify writable_view updates closing expiring"
    " replica prefixed typed put_options memoize range_size prefix_sizes expiry_callback transactional",
    "aio_view aio_memoize",
    "aio_batch",
    "aio_transaction",
    "aio",
]
"""Of flin.engine."""

OBJECTS: Final = [
    "score list_position read_ahead rank_index hyperloglog geohash versions thresholds host limits",
    "layout",
    "meta stream_id",
    "packed stream_tail misplaced",
    "live_object copying pieces",
    "unordered whole_order spread_order spread_list stream_group",
    "lex_bounds",
    "hash list set sorted_set long_string live_objects owners stream",
    "reaper kinds reading footprint stream_progress stream_trimming",
    "hash_view list_view set_view sorted_set_view stream_view",
    "views",
]
"""Of flin.objects."""

NET: Final = [
    "wire/",
    "cluster/",
    "settings/",
    "command/",
    "access/",
    "batch/",
    "data/",
    "messages/",
    "client/",
    "run/",
    "scripting/",
    "commands/",
    "log_file pid_file service_manager",
    "serve/ diagnostics",
    "server",
]
"""Of flin.net."""


GATEWAY: Final = [
    "connection status",
    "requests",
    "service",
    "server",
]
"""Of flin.gateway. (What protoc makes is on the floor of the package, below these.)"""

TRANSFER: Final = [
    "record place sample append_only backlog",
    "ndjson rdb_file command_file request_file link",
    "compact relay",
    "frozen replay",
    "exporting importing",
    "files server_source",
    "server_target directory_target replica_feed",
    "moving",
]
"""Of flin.transfer."""

ADMIN: Final = [
    "figures readiness metrics access guard profile heap stacks checkpoint_path",
    "source status",
    "line",
    "endpoints",
    "server",
    "attendant",
]
"""Of flin.admin."""

CLUSTER: Final = [
    "etcd/ keys",
    "workers/",
    "slot_map joining",
    "log/",
    "replica/",
    "node/",
    "resize/",
]
"""Of flin.cluster."""


def floors_of(package: str, floors: list[str]) -> list[list[str]]:
    """The modules of each floor, a wing's package among them: it is below them all, since it imports nothing."""
    return [[module for name in floor.split() for module in _modules(package, name)] for floor in floors]


def _modules(package: str, name: str) -> list[str]:
    if not name.endswith("/"):
        return [f"{package}.{name}"]
    wing = f"{package}.{name[:-1]}"
    return [module_name(path) for path in python_files(wing.replace(".", "/"))]


FLOORS: Final = [
    ["flin", "flin.errors"],
    ["flin.rdb"],
    *floors_of("flin.engine", ENGINE),
    ["flin.engine"],
    ["flin.dbm"],
    ["flin.objects"],
    *floors_of("flin.objects", OBJECTS),
    ["flin.testing", "flin.net"],  # `testing` is for tests, of Flin and of programs that use it
    *floors_of("flin.net", NET),
    *floors_of("flin.transfer", TRANSFER),
    ["flin.transfer"],
    ["flin.gateway"],
    *floors_of("flin.gateway", GATEWAY),
    ["flin.admin"],
    *floors_of("flin.admin", ADMIN),
    ["flin.cluster"],
    *floors_of("flin.cluster", CLUSTER),
    ["flin.bench"],
    ["flin.cli"],
    ["flin.__main__"],
]


def floor_of(module: str) -> int:
    """The floor of a module. The longest prefix counts: `flin.testing.disk` is on the floor of `flin.testing`."""
    while module not in _NUMBERS:
        module = module.rpartition(".")[0]
    return _NUMBERS[module]


_NUMBERS: Final = {module: number for number, floor in enumerate(FLOORS) for module in floor}
