"""The floors of the house, bottom first: a module imports what stands on its own floor or below.

Types count: what is imported for annotations alone ties two files together in a reader's head as well.
"""

from __future__ import annotations

from typing import Final

ENGINE: Final = {
    "base": "reentry",
    "disk": "descriptor directory_lock fs file_name lock open_files",
    "words": "options entry key slot boundaries",
    "table": "table_meta block stored_block index_block range_block expiry_block key_part filter block_cache "
    "cached_block heat table_footer table_writer table_state table_scan table_check",
    "single": "cold_read sstable memtable wal wal_replay sync_rounds wal_writer lost_header",
    "catalog": "version manifest generation recovery",
    "read": "state read_path merge joined_runs head value_cache count live_count",
    "tree": "store turns commits ordered_reads edits dead_stretches tables opening stall closed_state foreign",
    "background": "compaction job job_files job_wire run_writer helper helper_process job_handle job_gate "
    "inline_runner thread_runner helper_runner pair_runner runner sweep maintenance background_statistics compactor "
    "pace damaged_work bell",
    "repair": "repair repair_report salvaged_wal salvaged_table salvaged_tables",
    "face": "engine view batch snapshot statistics verify pairs mapping_views writable_view scan_iterator closing "
    "expiring",
}
"""Of flin.engine, by wing."""

NET: Final = {
    "wire": "alike resp resp_python requests replies numbers long_double glob bit_field longest_common info_constants",
    "settings": "parameter redis_parameters config file_limit",
    "command": "command facts registry arguments",
    "batch": "store namespaces refusal unsynced journal pending",
    "data": "observers keyspace hot_keys cursors databases many_keys",
    "client": "link unread session clients transcript damage slowlog counters",
    "run": "tick services context gates call transaction",
    "commands": "commands.bitmaps commands.connection commands.counters commands.every commands.expiry commands.help "
    "commands.introspection commands.keys commands.reference commands.scan commands.scripts commands.server "
    "commands.strings commands.transactions info",
    "serve": "dispatch judge flow backlog output connection cold guard",
    "top": "server",
}
"""Of flin.net."""

FLOORS: Final = [
    ["flin", "flin.errors"],
    *([f"flin.engine.{name}" for name in names.split()] for names in ENGINE.values()),
    ["flin.engine"],
    ["flin.testing", "flin.net", "flin.net.commands"],  # `testing` is for tests, of Flin and of what is built on it
    *([f"flin.net.{name}" for name in names.split()] for names in NET.values()),
    ["flin.bench"],
    ["flin.cli"],
    ["flin.__main__"],
]


def floor_of(module: str) -> int:
    """The longest prefix counts: `flin.testing.disk` stands where `flin.testing` does."""
    while module not in _NUMBERS:
        module = module.rpartition(".")[0]
    return _NUMBERS[module]


_NUMBERS: Final = {module: number for number, floor in enumerate(FLOORS) for module in floor}
