"""CONFIG, INFO, FLUSHALL, SLOWLOG, MEMORY and the rest, as Redis 7.0 answers them."""

from __future__ import annotations

import re

import pytest

from tests.net.serving import HandlerClient


@pytest.fixture
def client() -> HandlerClient:
    return HandlerClient()


def ask(client: HandlerClient, line: str) -> str:
    return client.call(*[word.encode("latin-1") for word in line.split(" ")]).decode("latin-1").replace("\r\n", "|")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("DBSIZE", ":0|"),
        ("FLUSHDB", "+OK|"),
        ("FLUSHDB ASYNC", "+OK|"),
        ("FLUSHDB x", "-ERR syntax error|"),
        ("FLUSHALL sync", "+OK|"),
        ("FLUSHALL x y", "-ERR syntax error|"),
        ("SHUTDOWN foo", "-ERR syntax error|"),
        ("SHUTDOWN SAVE NOSAVE", "-ERR syntax error|"),
        ("SHUTDOWN ABORT", "-ERR No shutdown in progress.|"),
        ("CONFIG GET maxcl* TIMEOUT", "*4|$10|maxclients|$5|10000|$7|TIMEOUT|$1|0|"),
        ("CONFIG GET nothing", "*0|"),
        ("CONFIG SET maxclients", "-ERR wrong number of arguments for 'config|set' command|"),
        ("CONFIG SET maxclients 10 timeout", "-ERR syntax error|"),
        ("CONFIG SET nothing 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nothing'|"),
        (
            "CONFIG SET maxclients 10 maxclients 11",
            "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - duplicate parameter|",
        ),
        (
            "CONFIG SET maxclients abc",
            "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - "
            "argument couldn't be parsed into an integer|",
        ),
        (
            "CONFIG SET dir /x",
            "-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config|",
        ),
        ("CONFIG SET timeout 5 MAXCLIENTS 9", "+OK|"),
        ("CONFIG RESETSTAT", "+OK|"),
        ("SLOWLOG GET", "*0|"),
        ("SLOWLOG GET -1", "*0|"),
        ("SLOWLOG GET x", "-ERR count should be greater than or equal to -1|"),
        ("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1|"),
        ("SLOWLOG LEN", ":0|"),
        ("SLOWLOG RESET", "+OK|"),
        ("MEMORY USAGE nothing", "$-1|"),
        ("MEMORY USAGE nothing SAMPLES 0", "$-1|"),
        ("MEMORY USAGE nothing SAMPLES x", "-ERR value is not an integer or out of range|"),
        ("MEMORY USAGE nothing SAMPLES -1", "-ERR syntax error|"),
        ("MEMORY USAGE nothing x", "-ERR syntax error|"),
        ("FUNCTION FLUSH", "+OK|"),
        ("FUNCTION FLUSH x", "-ERR FUNCTION FLUSH only supports SYNC|ASYNC option|"),
        ("SCRIPT FLUSH ASYNC", "+OK|"),
        ("SCRIPT FLUSH x", "-ERR SCRIPT FLUSH only support SYNC|ASYNC option|"),
    ],
)
def test_replies(client: HandlerClient, line: str, reply: str) -> None:
    assert ask(client, line) == reply


def test_time(client: HandlerClient) -> None:
    _, _, seconds, _, microseconds, _ = ask(client, "TIME").split("|")
    assert abs(int(seconds) * 1000 + int(microseconds) // 1000 - client.store.now_ms()) < 60_000


def test_flush_one_database_or_all(client: HandlerClient) -> None:
    for line in ("SET a 1", "SELECT 1", "SET b 1", "SET c 1"):
        ask(client, line)
    assert ask(client, "DBSIZE") == ":2|"
    ask(client, "FLUSHDB")
    assert ask(client, "DBSIZE") == ":0|"
    ask(client, "SELECT 0")
    assert ask(client, "DBSIZE") == ":1|"
    assert ask(client, "GET a") == ask(client, "GET a") == "$1|1|"
    ask(client, "FLUSHALL")
    assert ask(client, "GET a") == "$-1|"
    assert client.store.entries == {}


def test_flush_and_write_in_one_tick(client: HandlerClient) -> None:
    client.call(b"SET", b"a", b"1", commit=False)
    client.call(b"FLUSHALL", commit=False)
    client.call(b"SET", b"b", b"2", commit=False)
    client.pending.commit()
    assert client.store.entries == {b"b": b"2"}


def test_memory_usage_grows_with_the_value(client: HandlerClient) -> None:
    ask(client, "SET a " + "x" * 1000)
    assert 1000 < int(ask(client, "MEMORY USAGE a")[1:-1]) < 1400


def test_slowlog(client: HandlerClient) -> None:
    ask(client, "CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 3")
    ask(client, "CLIENT SETNAME me")
    client.call(b"MGET", *[b"k" * 200] * 40)
    assert ask(client, "SLOWLOG LEN") == ":3|"
    entry = client.services.slowlog.entries[1]
    assert entry.args[0] == b"MGET"
    assert entry.args[1] == b"k" * 128 + b"... (72 more bytes)"
    assert len(entry.args) == 32
    assert entry.args[-1] == b"... (10 more arguments)"
    assert (entry.name, entry.address) == (b"me", b"127.0.0.1:1")
    assert ask(client, "SLOWLOG GET 1").startswith("*1|*6|:")
    ask(client, "SLOWLOG RESET")
    assert ask(client, "SLOWLOG LEN") == ":1|", "the reset itself was slow enough"


def info(client: HandlerClient, *sections: str) -> dict[str, str]:
    text = client.call(b"INFO", *[section.encode() for section in sections]).decode()
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def test_info(client: HandlerClient) -> None:
    ask(client, "SET a 1")
    ask(client, "GET a")
    ask(client, "GET b")
    figures = info(client)
    for name, value in {
        "redis_version": "7.0.15",
        "redis_mode": "standalone",
        "loading": "0",
        "maxmemory_policy": "noeviction",
        "keyspace_hits": "1",
        "keyspace_misses": "1",
        "role": "master",
        "db0": "keys=1,expires=0,avg_ttl=0",
    }.items():
        assert figures[name] == value, name
    for name in (
        "flin_version",
        "arch_bits",
        "used_memory",
        "total_commands_processed",
        "hot_keys",
        "hot_keys_hits",
        "uptime_in_seconds",
    ):
        assert name in figures, name


def test_info_sections(client: HandlerClient) -> None:
    ask(client, "FOO")
    assert info(client, "KEYSPACE", "errorstats") == {"errorstat_ERR": "count=1"}
    assert info(client, "nothing") == {}
    assert "cmdstat_info" not in info(client)
    for name in ("all", "everything", "commandstats"):
        assert info(client, name)["cmdstat_info"].startswith("calls="), name
    assert info(client, "default", "commandstats", "latencystats").keys() == info(client, "all").keys()
    ask(client, "CONFIG RESETSTAT")
    assert info(client, "errorstats") == {}


def test_info_has_a_line_for_each_figure(client: HandlerClient) -> None:
    client.store.read_only_reason = "cannot sync db\r\nrole:slave"
    assert info(client, "persistence")["read_only_reason"] == "cannot sync db  role:slave"


def test_info_is_verbatim_in_resp3(client: HandlerClient) -> None:
    ask(client, "HELLO 3")
    reply = client.call(b"INFO", b"cluster")
    assert reply == b"=%d\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n" % len(
        b"txt:# Cluster\r\ncluster_enabled:0\r\n"
    )


def test_config_get_is_a_map_in_resp3(client: HandlerClient) -> None:
    ask(client, "HELLO 3")
    assert ask(client, "CONFIG GET timeout") == "%1|$7|timeout|$1|0|"


@pytest.mark.parametrize(
    ("lines", "hits", "misses"),
    [
        (["INCR n", "INCR n", "APPEND n 1", "SETRANGE n 0 1", "SETNX n 1", "SETNX new 1"], 0, 0),
        (["DEL nothing", "SET p 1", "SET p 1 NX", "EXPIRE p 100", "PERSIST p", "RENAME p q", "MSETNX a 1 b 2"], 0, 0),
        (["GET a", "GET a", "GET b", "STRLEN a", "GETRANGE b 0 1", "MGET a b c"], 4, 4),
        (["EXISTS a b", "TOUCH a b", "TYPE b", "TTL b", "PTTL a", "OBJECT ENCODING a", "OBJECT FREQ b"], 4, 5),
        (["GETSET a 2", "SET a 3 GET", "GETEX a PERSIST", "GETDEL a", "COPY b c"], 4, 1),
        (["MULTI", "GET a", "GET b", "MGET a b", "EXEC"], 2, 2),
        (["WATCH a", "MEMORY USAGE a", "KEYS *", "SCAN 0"], 0, 0),
    ],
)
def test_hits_and_misses_are_of_reads_once_each(
    client: HandlerClient, lines: list[str], hits: int, misses: int
) -> None:
    ask(client, "SET a 1")
    ask(client, "CONFIG RESETSTAT")
    for line in lines:
        ask(client, line)
    figures = info(client, "stats")
    assert (figures["keyspace_hits"], figures["keyspace_misses"]) == (str(hits), str(misses))


EXPORTED = re.findall(
    r"\w+",
    """
uptime_in_seconds process_id connected_clients blocked_clients tracking_clients
client_recent_max_output_buffer client_recent_max_input_buffer allocator_active allocator_allocated
allocator_resident allocator_frag_ratio allocator_frag_bytes allocator_rss_ratio allocator_rss_bytes
used_memory used_memory_rss used_memory_peak used_memory_lua used_memory_overhead used_memory_startup
used_memory_dataset used_memory_scripts maxmemory mem_fragmentation_ratio mem_fragmentation_bytes
mem_clients_slaves mem_clients_normal expired_stale_perc mem_not_counted_for_evict lazyfree_pending_objects
active_defrag_running migrate_cached_sockets active_defrag_hits active_defrag_misses active_defrag_key_hits
active_defrag_key_misses expired_time_cap_reached_count loading rdb_changes_since_last_save
rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status rdb_last_bgsave_time_sec
rdb_current_bgsave_time_sec rdb_last_cow_size aof_enabled aof_rewrite_in_progress aof_rewrite_scheduled
aof_last_rewrite_time_sec aof_current_rewrite_time_sec aof_last_cow_size aof_current_size aof_base_size
aof_pending_rewrite aof_buffer_length aof_rewrite_buffer_length aof_pending_bio_fsync aof_delayed_fsync
aof_last_bgrewrite_status aof_last_write_status module_fork_in_progress module_fork_last_cow_size
pubsub_channels pubsub_patterns latest_fork_usec connected_slaves repl_backlog_size repl_backlog_active
repl_backlog_first_byte_offset repl_backlog_histlen master_repl_offset second_repl_offset
slave_expires_tracked_keys sync_full sync_partial_ok sync_partial_err total_system_memory
total_connections_received total_commands_processed rejected_connections total_net_input_bytes
total_net_output_bytes expired_keys evicted_keys keyspace_hits keyspace_misses used_cpu_sys used_cpu_user
used_cpu_sys_children used_cpu_user_children used_cpu_sys_main_thread used_cpu_user_main_thread redis_build_id
redis_git_sha1 redis_git_dirty redis_mode os tcp_port run_id role cluster_enabled
    """,
)
"""The fields that redis_exporter reads from a server with this role."""


def test_info_has_what_monitoring_reads(client: HandlerClient) -> None:
    missing = set(EXPORTED) - info(client, "everything").keys()
    assert not missing


def test_info_tells_of_value_files(client: HandlerClient) -> None:
    told = {"value_files": {"files": 3, "bytes": 700, "live_bytes": 500}}
    object.__setattr__(client.services, "engine_statistics", lambda: told)
    found = info(client, "persistence")
    names = ("value_files", "value_files_bytes", "value_files_live_bytes")
    assert [found[name] for name in names] == ["3", "700", "500"]


def test_memory_has_a_peak(client: HandlerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([1 << 40, 1 << 30])
    monkeypatch.setattr("flin.net.commands.info.resident_bytes", lambda: next(sizes))
    for _ in range(2):
        assert info(client, "memory")["used_memory_peak"] == str(1 << 40), "not below what was used at any time"
