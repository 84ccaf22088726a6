"""`flin serve --workers`: real processes, from the start to the end."""

from __future__ import annotations

import os
import re
import signal
import socket
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

import flin.engine
from flin.bench.workers import free_ports
from flin.cluster.workers import supervisor
from flin.cluster.workers.assignment import Report
from flin.cluster.workers.fleet import Ending
from flin.cluster.workers.groups import create_groups, make_databases, read_groups
from flin.cluster.workers.supervisor import Supervisor
from flin.cluster.workers.workers_lock import workers_lock
from flin.cluster.workers.workers_page import WorkersPage
from flin.engine.options import Options
from flin.errors import LockedError
from flin.net.cluster.slots import slot_of
from flin.net.settings.options import ServerOptions
from flin.testing.process import is_alive, kill, wait_until
from tests.cluster.served import Serve, key_of, refused
from tests.net.certificates import Certificates
from tests.net.serve.test_tls import serial_of
from tests.test_cli import Capture, run


def own_keys(tmp_path: Path) -> list[str]:
    """A key for each worker."""
    return [key_of((group.first, group.last)) for group in read_groups(tmp_path / "db")]


def test_from_the_start_to_the_end(serve: Serve, tmp_path: Path) -> None:
    served = serve(workers=3)
    assert "directory db, 3 workers, sync interval, 0 records recovered" in served.start_line
    keys = own_keys(tmp_path)
    for number in range(3):
        with served.client(number) as client:
            assert client.set(keys[number], number)
            assert client.config_get("dir") == {"dir": f"db/group-0{number}"}
            assert client.config_get("memory-limit") == {"memory-limit": str(32 << 20)}
            assert client.config_get("maxclients") == {"maxclients": "3333"}
            assert client.config_get("workers") == {"workers": "3"}
    workers = served.workers()
    assert sorted(workers) == [0, 1, 2]
    assert served.end() == 0
    assert not any(map(is_alive, workers.values()))
    for number, group in enumerate(read_groups(tmp_path / "db")):
        with flin.engine.open(group.directory, runner="inline") as db:
            assert len(db) == 1, number
    again = serve(workers=3)
    for number in range(3):
        with again.client(number) as client:
            assert client.get(keys[number]) == str(number)
    assert again.end(signal.SIGINT) == 0


def test_clients_of_a_cluster_find_all(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    keys = own_keys(tmp_path)
    with served.client(0) as client:
        slot = slot_of(keys[1].encode())
        with pytest.raises(redis.exceptions.MovedError, match=f"{slot} 127.0.0.1:{served.ports[1]}"):
            client.get(keys[1])
        ranges = client.execute_command("CLUSTER SLOTS")
    assert [each[2][:2] for each in ranges] == [["127.0.0.1", port] for port in served.ports]
    with redis.RedisCluster("127.0.0.1", served.ports[1], decode_responses=True) as cluster:
        for key in keys:
            assert cluster.set(key, key)
        assert [cluster.get(key) for key in keys] == keys
        assert cluster.dbsize(target_nodes=redis.RedisCluster.PRIMARIES) == 2
    assert served.end() == 0


def test_the_supervisor_answers_nobody_and_the_log_says_who_speaks(serve: Serve) -> None:
    served = serve()
    with served.client(1) as client:
        client.shutdown()
    served.wait_until_logged("supervisor: .* INFO .*: worker 1 was told to end, and its slots are served no more")
    assert "\nworker 1: " in served.program.printed()
    with closing(socket.socket()) as late, pytest.raises(ConnectionRefusedError):
        late.connect(("127.0.0.1", served.ports[1]))
    assert sorted(served.workers()) == [0]
    with served.client(0) as client:
        assert client.ping()
        with suppress(redis.ConnectionError):
            client.shutdown()
    assert served.program.wait_for_code() == 0


def test_a_worker_that_is_killed_comes_back_where_it_was(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    keys = own_keys(tmp_path)
    before = served.workers()
    with served.client(0) as other, served.client(1) as client:
        client.set(keys[1], "answered")
        other.set(keys[0], 0)
        kill(before[1])
        # It connects while nobody is there to answer, and waits in the queue of the socket.
        with served.client(1) as later:
            assert later.get(keys[1]) == "answered"
        assert [other.incr(keys[0]) for _ in range(100)] == list(range(1, 101)), "its connection has lived on"
    after = served.workers()
    assert (after[0], len({*before.values(), *after.values()})) == (before[0], 3)
    served.wait_until_logged("ERROR .*: worker 1: ended by SIGKILL; it is started again in 0.1 s")
    served.wait_until_logged("INFO .*: worker 1 is ready again")
    assert served.end() == 0


def test_workers_do_not_outlive_their_supervisor(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    keys = own_keys(tmp_path)
    workers = served.workers()
    with served.client(1) as client:
        client.set(keys[1], "answered")
    kill(served.pid)
    again = serve(wait=False)
    again.wait_until_ready()
    with again.client(1) as client:
        assert client.get(keys[1]) == "answered"
    assert not any(map(is_alive, workers.values()))
    assert served.program.printed().count("the supervisor is gone: ending, too") == 2
    assert again.end() == 0


def test_a_supervisor_waits_for_workers_that_are_still_starting(serve: Serve, tmp_path: Path) -> None:
    """Of a supervisor that was killed: they hold no database yet, but will, and the ports."""
    create_groups(tmp_path / "db", 2)
    with workers_lock(str(tmp_path / "db"), 0):
        served = serve(wait=False)
        served.wait_until_logged("supervisor: .* workers of an earlier supervisor are ending; waiting for them for 15")
    served.wait_until_ready()
    for pid in served.workers().values():
        held = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        assert held.count(str(tmp_path / "db" / "groups.json")) == 1
    assert served.end() == 0


def test_workers_that_do_not_end_keep_the_next_supervisor_away(tmp_path: Path) -> None:
    create_groups(tmp_path, 2)
    with workers_lock(str(tmp_path), 0) as held:
        with pytest.raises(LockedError, match="is open in another process"), workers_lock(str(tmp_path), 0.1):
            pass
        heir = os.dup(held)
    try:
        with pytest.raises(LockedError), workers_lock(str(tmp_path), 0):
            pass
    finally:
        os.close(heir)
    with workers_lock(str(tmp_path), 0):
        pass


def test_a_supervisor_waits_for_whoever_has_a_group_open(serve: Serve, tmp_path: Path) -> None:
    groups = create_groups(tmp_path / "db", 2)
    make_databases(groups, Options())
    with flin.engine.open(groups[1].directory, runner="inline"):
        served = serve(wait=False)
        served.wait_until_logged(
            f"supervisor: .* WARNING .*group-01 is open in process {os.getpid()} .*; waiting for that for 15 s at most"
        )
    served.wait_until_ready()
    assert served.end() == 0


def test_tls_and_certificates_that_are_read_again(serve: Serve, tmp_path: Path) -> None:
    """SIGHUP to the supervisor reaches every worker."""
    certificates = Certificates(tmp_path)
    served = serve(*certificates.words())
    assert served.start_line.partition(": ")[0].endswith(f"127.0.0.1 TLS ports {served.ports[0]} {served.ports[1]}")
    before = [serial_of(port, certificates) for port in served.ports]
    certificates.renew()
    kill(served.pid, signal.SIGHUP)
    wait_until(
        lambda: not {serial_of(port, certificates) for port in served.ports} & {*before}, "the new certificate is shown"
    )
    assert served.end() == 0


# Starts that fail.


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        port = free_ports(2)[1]
        taken.bind(("127.0.0.1", port))
        taken.listen()
        code, text = refused(tmp_path, "--workers", "2", "--port", str(port - 100), "--dir", "db")
    assert code == 1
    assert text == f"flin: cannot listen on 127.0.0.1 port {port}, that of worker 1: Address already in use\n"
    assert not (tmp_path / "db" / "groups.json").exists(), "another number may be tried"


def test_a_damaged_group(tmp_path: Path) -> None:
    groups = create_groups(tmp_path / "db", 2)
    for group in groups:
        flin.engine.open(group.directory, runner="inline").close()
    manifest = groups[1].directory / "MANIFEST"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    code, text = refused(tmp_path, "--workers", "2", "--port", "0", "--dir", "db")
    assert code == 1
    assert text.count("flin: ") == 1
    assert "db/group-01/MANIFEST: corrupt at offset" in text


def test_a_worker_that_cannot_start(tmp_path: Path) -> None:
    """What the supervisor does not look into itself."""
    (tmp_path / "users.acl").write_text("user nobody what\n")
    code, text = refused(tmp_path, "--workers", "2", "--port", "0", "--dir", "db", "--aclfile", "users.acl")
    assert code == 1
    assert "users.acl:1: Syntax error" in text.rpartition("flin: worker ")[2]


@pytest.mark.slow  # five attempts, with waits between them
def test_a_damaged_group_of_a_worker_that_dies_later(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    manifest = read_groups(tmp_path / "db")[1].directory / "MANIFEST"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    kill(served.workers()[1])
    assert served.program.wait_for_code() == 1
    printed = served.program.printed()
    assert printed.count("it is started again in") == 5
    assert re.search("flin: worker 1 could not be started 5 times: .*/db/group-01/MANIFEST: corrupt at offset", printed)
    assert "worker 0: " in printed.partition("flin.net.server: stopping")[0].splitlines()[-1], "it ended cleanly"


def test_why_a_worker_is_not_there(tmp_path: Path) -> None:
    """What it has ended by is told until the next one says what it waits for, or is there."""
    http: Any = None
    page = WorkersPage(http, str(tmp_path), create_groups(tmp_path, 2))
    loop = SimpleNamespace(remove_reader=lambda _: None)
    board = SimpleNamespace(clear=lambda _: None)
    own: Any = SimpleNamespace(
        _page=page, _board=board, _loop=loop, _note_end=lambda *_: None, _discard=page.discard, _workers={}
    )

    def hear(code: int, *reports: Report) -> str:
        ending = Ending(code, next((each.failure for each in reports if each.failure), ""))
        worker: Any = SimpleNamespace(heard=lambda: reports, has_ended=True, reports=0, ending=lambda: ending)
        own._workers[1] = worker
        Supervisor._hear(own, 1, worker)
        return page.waiting().get(1, "")

    assert hear(1, Report(waits_for="waits for etcd"), Report(failure="no space left")) == (
        "has ended, and is started again: no space left"
    )
    assert hear(-9, Report(waits_for="waits for etcd")) == ""


def test_a_second_supervisor_and_sighup_without_tls_change_nothing(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    workers = served.workers()
    kill(served.pid, signal.SIGHUP)
    with served.client(0) as client:
        assert client.ping()
    code, text = refused(tmp_path, "--workers", "2", "--port", "0", "--dir", "db")
    assert code == 3
    assert text.startswith(f"flin: db is open in process {served.pid} since ")
    assert served.workers() == workers
    assert served.end() == 0


def test_a_group_that_is_open_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOCK_SECONDS", 0.2)
    groups = create_groups(tmp_path / "db", 2)
    options = ServerOptions(workers=2, dir=str(tmp_path / "db"), port=0)
    with (
        flin.engine.open(groups[1].directory, runner="inline"),
        pytest.raises(LockedError, match=r"group-01 is .*open"),
    ):
        supervisor.supervise(options)


def run_serve(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, *options: str) -> tuple[int, str, str]:
    """In this process, which must not begin to serve: it would not end."""

    def begin(*_: object, **__: object) -> None:
        pytest.fail("it serves")

    monkeypatch.setattr("flin.net.server.serve", begin)
    monkeypatch.setattr(supervisor, "bind_all", begin)
    monkeypatch.chdir(folder)
    return run(capsys, "serve", *options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--dir", "plain", "--workers", "2"), "plain is a database for one process: copy it with flin resize plain"),
        (("--dir", "groups"), "groups is for 2 workers: use --workers 2, or copy it with flin resize"),
        (("--dir", "groups", "--workers", "3"), "groups is for 2 workers: use --workers 2"),
        (("--dir", "new", "--workers", "0"), "--workers is '0', it must be from 1 to"),
        (("--dir", "new", "--workers", "2", "--unixsocket", "s"), "--unixsocket cannot be had with --workers"),
        (("--dir", "groups", "--workers", "2", "--shards", "4"), "groups/group-00 has 1 shards, which is fixed"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, options: tuple[str, ...], text: str
) -> None:
    flin.engine.open(tmp_path / "plain", runner="inline").close()
    for group in create_groups(tmp_path / "groups", 2):
        flin.engine.open(group.directory, runner="inline").close()
    code, _, printed = run_serve(tmp_path, monkeypatch, capsys, "--port", "0", *options)
    assert (code, printed.startswith(f"flin: {text}")) == (2, True), printed
    assert not (tmp_path / "new").exists()


def test_shares_that_are_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    words = ("--workers", "2", "--memory-limit", "31mb", "--dir", "db")
    code, _, printed = run_serve(tmp_path, monkeypatch, capsys, *words)
    assert code == 1
    assert (
        printed
        == "flin: for each of 2 workers: memory_limit is 16252928, it must be from 16777216 to 1125899906842624\n"
    )
    assert not (tmp_path / "db").exists()


def test_many_workers_are_one_process(serve: Serve, tmp_path: Path) -> None:
    """The command line of another program, whose workers are threads."""
    cores = len(os.sched_getaffinity(0))
    served = serve("--memory-limit", "64mb", workers=256)
    assert served.start_line.endswith(
        f"; --workers 256 is more than twice the {cores} cores here, so it is one process as ever"
    )
    assert not read_groups(tmp_path / "db")
    with served.client() as client:
        assert client.config_get("workers") == {"workers": "1"}
    assert served.end() == 0


# Options.


def test_the_config_file(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "flin.toml").write_text(
        '[server]\nworkers = 2\nmaxclients = 50\ndatabases = 4\ncluster_announce_ip = "10.1.2.3"\n'
    )
    served = serve("--config", "flin.toml")
    with served.client(1) as client:
        assert client.config_get("cluster-announce-ip") == {"cluster-announce-ip": "10.1.2.3"}
        assert client.config_get("maxclients") == {"maxclients": "25"}
        assert client.config_get("databases") == {"databases": "4"}
        with pytest.raises(redis.ResponseError, match="Copying to another database is not allowed in cluster mode"):
            client.execute_command("COPY", "a", "{a}b", "DB", "1")
        assert client.config_set("slowlog-max-len", 5)
        with pytest.raises(redis.ResponseError, match="CONFIG SET changes one worker, and the file is for all"):
            client.config_rewrite()
    assert served.end() == 0


def test_users_are_those_of_one_file(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "users.acl").write_text("user default on nopass ~* &* +@all\n")
    served = serve("--aclfile", "users.acl")
    with served.client(0) as one, served.client(1) as other:
        assert one.acl_setuser("ada", enabled=True, nopass=True, commands=["+get"], keys=["*"])
        assert one.acl_save()
        assert "ada" not in other.acl_users()
        assert other.acl_load()
        assert "ada" in other.acl_users()
    assert served.end() == 0
