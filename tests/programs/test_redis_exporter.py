"""What Prometheus's redis_exporter reads of a server: each name that Redis 7.0 shows is there, with a value.

The exporter itself is a program in Go, which no registry of packages has. The names are those of its documentation.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from redis import ResponseError

from tests.programs.served import Served

pytestmark = pytest.mark.slow

NUMBERS: Final = """
    uptime_in_seconds process_id configured_hz hz connected_clients blocked_clients tracking_clients
    client_recent_max_output_buffer client_recent_max_input_buffer maxclients clients_in_timeout_table
    cluster_connections allocator_active allocator_allocated allocator_resident allocator_frag_ratio
    allocator_frag_bytes allocator_rss_ratio allocator_rss_bytes used_memory used_memory_rss used_memory_peak
    used_memory_overhead used_memory_startup used_memory_dataset used_memory_lua used_memory_vm_eval
    used_memory_scripts_eval used_memory_vm_functions used_memory_vm_total used_memory_functions used_memory_scripts
    maxmemory mem_fragmentation_ratio mem_fragmentation_bytes mem_clients_slaves mem_clients_normal
    mem_cluster_links mem_aof_buffer mem_replication_backlog mem_total_replication_buffers mem_not_counted_for_evict
    lazyfree_pending_objects lazyfreed_objects active_defrag_running total_system_memory number_of_cached_scripts
    number_of_functions number_of_libraries expired_stale_perc expired_time_cap_reached_count migrate_cached_sockets
    active_defrag_hits active_defrag_misses active_defrag_key_hits active_defrag_key_misses loading async_loading
    rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_time_sec
    rdb_current_bgsave_time_sec rdb_last_cow_size rdb_saves rdb_last_load_keys_expired rdb_last_load_keys_loaded
    current_cow_peak current_cow_size aof_enabled aof_rewrite_in_progress aof_rewrite_scheduled
    aof_last_rewrite_time_sec aof_current_rewrite_time_sec aof_last_cow_size module_fork_in_progress
    module_fork_last_cow_size pubsub_channels pubsub_patterns pubsubshard_channels latest_fork_usec connected_slaves
    repl_backlog_size repl_backlog_active repl_backlog_first_byte_offset repl_backlog_histlen master_repl_offset
    second_repl_offset slave_expires_tracked_keys sync_full sync_partial_ok sync_partial_err
    total_connections_received total_commands_processed rejected_connections total_net_input_bytes
    total_net_output_bytes total_net_repl_input_bytes total_net_repl_output_bytes expired_keys evicted_keys
    evicted_clients total_eviction_exceeded_time current_eviction_exceeded_time keyspace_hits keyspace_misses
    used_cpu_sys used_cpu_user used_cpu_sys_children used_cpu_user_children used_cpu_sys_main_thread
    used_cpu_user_main_thread instantaneous_ops_per_sec instantaneous_input_kbps instantaneous_output_kbps
    instantaneous_input_repl_kbps instantaneous_output_repl_kbps total_error_replies total_forks
    dump_payload_sanitizations unexpected_error_replies tracking_total_keys tracking_total_items
    tracking_total_prefixes io_threads_active io_threaded_reads_processed io_threaded_writes_processed
    cluster_enabled
"""
"""Without total_reads_processed and total_writes_processed: Flin does not count reads and writes of sockets."""

WORDS: Final = """
    role redis_version redis_build_id redis_mode os maxmemory_policy tcp_port run_id master_replid
    rdb_last_bgsave_status aof_last_bgrewrite_status aof_last_write_status master_failover_state
"""


def test_the_names(served: Served) -> None:
    served.may_fail.add("get")
    with served.client(decode_responses=True) as client:
        client.set("k", "v", ex=1000)
        client.rpush("list", "a")
        with pytest.raises(ResponseError):
            client.get("list")
        info: dict[str, Any] = client.info("all")
        assert [name for name in NUMBERS.split() if not isinstance(info.get(name), int | float)] == []
        assert [name for name in WORDS.split() if name not in info] == []
        assert {"keys", "expires", "avg_ttl"} <= info["db0"].keys()
        counted = {"calls", "usec", "usec_per_call", "rejected_calls", "failed_calls"}
        assert counted <= info["cmdstat_get"].keys()
        assert info["errorstat_WRONGTYPE"] == {"count": 1}


def test_the_other_commands(served: Served) -> None:
    """CONFIG GET *, SLOWLOG, LATENCY, CLIENT LIST."""
    with served.client(decode_responses=True) as client:
        config = client.config_get("*")
        assert {"maxmemory", "maxclients", "databases", "slowlog-log-slower-than"} <= config.keys()
        client.config_set("slowlog-log-slower-than", 0)
        client.set("k", "v")
        assert client.slowlog_len() >= 1
        newest = client.slowlog_get(1)[0]
        assert {"id", "start_time", "duration"} <= newest.keys()
        assert client.execute_command("LATENCY", "LATEST") == []
        histogram = client.execute_command("LATENCY", "HISTOGRAM", "set")
        assert re.search("calls.*histogram_usec", str(histogram)), histogram
        read = {"id", "addr", "name", "age", "idle", "flags", "db", "omem", "cmd", "user", "resp", "qbuf", "qbuf-free",
                "obl", "oll", "tot-mem", "sub", "psub", "ssub", "multi"}  # fmt: skip
        assert read <= client.client_list()[0].keys()
