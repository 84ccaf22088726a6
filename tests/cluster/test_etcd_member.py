"""A member of etcd as a child: it starts, says why it cannot, comes back, and ends with its parent; three of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from flin.cluster.etcd.certificates import CertificatesError, make_certificates, read_certificates
from flin.testing.process import PATIENCE_SECONDS, is_alive, wait_until
from tests.cluster.members import HOST, member_options, peer_port, started

TIMEOUT = PATIENCE_SECONDS


def test_without_etcd_it_says_what_to_do(tmp_path: Path) -> None:
    options = member_options(tmp_path, program="no-such-etcd")
    from flin.cluster.etcd.etcd_member import EtcdError, EtcdMember

    with pytest.raises(EtcdError, match="apt-get install etcd-server"):
        EtcdMember(options)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("etcd Version: 3.3.27", "too old: at least 3.4"),
        ("etcd Version: 3.5.0", "may lose data when it is killed: use 3.4, or 3.5.6 and later"),
        ("etcd Version: 3.5.5\nGit SHA: 7.8.9", "3.5.5 may lose data"),
        ("3.5.6", "does not say that it is etcd"),
    ],
)
def test_an_etcd_that_is_not_used(tmp_path: Path, said: str, told: str) -> None:
    from flin.cluster.etcd.etcd_member import EtcdError, find_etcd

    program = tmp_path / "etcd"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    with pytest.raises(EtcdError, match=told):
        find_etcd(str(program))


def test_etcds_that_are_used() -> None:
    from flin.cluster.etcd.etcd_version import flaw_of, version_of

    for said in ("3.4.23", "3.5.6", "3.5.21", "3.6.0-rc.1", "3.10.0", "of nobody knows which"):
        assert flaw_of(version_of(said)) == "", said


def test_a_port_that_is_taken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = member_options(tmp_path)
    from flin.cluster.etcd import etcd_member
    from flin.cluster.etcd.etcd_member import EtcdError, EtcdMember

    monkeypatch.setattr(etcd_member, "TAKEN_SECONDS", 0.0)
    member = EtcdMember(options)
    with socket.create_server((HOST, options.client_port)), pytest.raises(EtcdError, match=str(options.client_port)):
        member.start()
    member.stop()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("the member has been permanently removed from the cluster", "remove its directory, and give --join"),
        ("error validating peerURLs {}: member count is unequal", "give --join, so that it asks again"),
        ("tocommit(5112) is out of range [lastIndex(1)]. Was the raft log corrupted, truncated, or lost?",
         "`flin cluster leave` it, remove its directory"),
        ("panic: failed to create WAL: no space left on device", "64 MB there to begin: make room"),
        ("something else", "etcd has ended with code 1 after .* something else .* 3"),
    ],
)  # fmt: skip
def test_what_etcd_says_as_it_ends(tmp_path: Path, said: str, told: str) -> None:
    """More lines follow: traces."""
    program = tmp_path / "etcd"
    program.write_text(f"""#!/bin/sh
[ "$1" = --version ] && exec echo "etcd Version: 3.4.23"
printf '%s\\n' '{said}' 2 3
exit 1
""")
    program.chmod(0o755)
    options = member_options(tmp_path, program=str(program))
    from flin.cluster.etcd.etcd_member import EtcdError

    with pytest.raises(EtcdError, match=told):
        started(options)


def test_flags_by_version(tmp_path: Path) -> None:
    options = member_options(tmp_path)
    entries = {
        version: [flag for flag in options.arguments(version) if "catchup" in flag]
        for version in ((3, 4, 23), (3, 5, 12), (3, 5, 13), (3, 6, 0))
    }
    assert list(entries.values()) == [
        [], [], ["--experimental-snapshot-catchup-entries=1000"], ["--snapshot-catchup-entries=1000"],
    ]  # fmt: skip


def test_it_comes_back_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = member_options(tmp_path)
    from flin.cluster.etcd import etcd_member
    from flin.cluster.etcd.etcd import EtcdKeyValueStore
    from flin.cluster.etcd.etcd_member import EtcdMember
    from flin.cluster.etcd.key_value import Put, Unavailable

    notes: Queue[str] = Queue()
    member = EtcdMember(options, notes.put)
    member.start()
    store = EtcdKeyValueStore([options.client_endpoint])
    store.txn((), [Put(b"k", b"kept")], timeout=TIMEOUT)
    first = member.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert "by signal 9" in notes.get(timeout=TIMEOUT)
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            assert store.get(b"k", timeout=TIMEOUT).pairs[0].value == b"kept"
            break
        except Unavailable:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert member.pid not in (first, None)
    member.stop()
    member.stop()
    assert member.pid is None
    log = tmp_path / "one" / "etcd.log"
    said = log.read_text()
    member.cut_log()
    assert log.read_text() == said
    monkeypatch.setattr(etcd_member, "MAX_LOG_BYTES", 1)
    member.cut_log()
    assert (log.read_text(), (tmp_path / "one" / "etcd.log.1").read_text()) == ("", said)
    with pytest.raises(Unavailable):
        store.get(b"k", timeout=5.0)
    store.close()


def test_one_of_two_waits_for_the_other(tmp_path: Path) -> None:
    """As a node does that is started again first."""
    options = member_options(tmp_path)
    from dataclasses import replace

    from flin.cluster.etcd.etcd_member import EtcdMember, peer_url

    there = dict(options.cluster) | {"two": peer_url(HOST, peer_port(), is_encrypted=False)}
    member = EtcdMember(replace(options, cluster=there))
    member.start(timeout=0.5)
    wait_until(lambda: member.pid is not None, "it is started")
    member.stop()


PARENT = """
import sys
from pathlib import Path
from tests.cluster.members import member_options, started
member = started(member_options(Path(sys.argv[1])))
print(member.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    member_options(tmp_path)  # skips without etcd
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
    wait_until(lambda: not is_alive(pid), "it ends")


@pytest.mark.slow
def test_three_members_by_tls(tmp_path: Path) -> None:
    """As a cluster forms: one; a learner, which holds copies; the third makes both vote. Then one leaves."""
    pytest.importorskip("cryptography")
    files = make_certificates(tmp_path / "tls", [])
    first = started(member_options(tmp_path, certificates=files))
    from flin.cluster.etcd.etcd import EtcdKeyValueStore
    from flin.cluster.etcd.etcd_channels import Access
    from flin.cluster.etcd.etcd_maintenance import EtcdMaintenance
    from flin.cluster.etcd.etcd_member import EtcdMember
    from flin.cluster.etcd.key_value import Put, Unavailable

    members: dict[str, Any] = {"one": first}
    store = EtcdKeyValueStore([first.options.client_endpoint], Access(files))
    told: Queue[Any] = Queue()
    store.watch(b"k", b"", 1, told.put)
    maintenance = EtcdMaintenance(store.channels)

    def until(call: Any) -> Any:
        """Ask again, while it is Unavailable: an election, a learner that is behind."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                return call()
            except Unavailable:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def join(name: str) -> None:
        options = member_options(tmp_path, name, certificates=files)
        there = until(lambda: maintenance.add_learner(options.peer_url, TIMEOUT))
        assert until(lambda: maintenance.add_learner(options.peer_url, TIMEOUT)) == there
        cluster = {member.name or name: member.peer_urls[0] for member in there}
        given = {"cluster": cluster, "is_joining": True, "certificates": files, "peer_port": options.peer_port}
        members[name] = started(member_options(tmp_path, name, **given))

    def vote(name: str) -> None:
        (member,) = [each for each in until(lambda: maintenance.members(TIMEOUT)) if each.name == name]
        until(lambda: maintenance.promote(member.id, TIMEOUT))
        until(lambda: maintenance.promote(member.id, TIMEOUT))

    join("two")
    learner = members["two"].options.client_endpoint
    assert until(lambda: maintenance.status(learner, TIMEOUT)).is_learner
    vote("two")
    join("three")
    vote("three")
    assert [member.is_learner for member in until(lambda: maintenance.members(TIMEOUT))] == [False] * 3
    endpoints = [member.options.client_endpoint for member in members.values()]
    store.channels.set_endpoints(endpoints)
    until(lambda: store.txn((), [Put(b"k", b"1")], timeout=TIMEOUT))
    assert told.get(timeout=TIMEOUT).events[0].pair.value == b"1"

    # The leader of etcd stands still; the client is with that one, and finds another.
    def leader() -> tuple[int, EtcdMember]:
        leading = maintenance.status(endpoints[0], TIMEOUT).leader
        for each in members.values():
            if maintenance.status(each.options.client_endpoint, TIMEOUT).member == leading:
                return leading, each
        raise Unavailable("there is none at this moment")

    leading, stopped = until(leader)
    store.channels.set_endpoints([stopped.options.client_endpoint])
    store.channels.set_endpoints(endpoints)
    os.kill(stopped.pid, signal.SIGSTOP)
    until(lambda: store.txn((), [Put(b"k", b"2")], timeout=1.0))
    values = [told.get(timeout=TIMEOUT).events[-1].pair.value]
    while values[-1] != b"2":
        values.append(told.get(timeout=TIMEOUT).events[-1].pair.value)
    os.kill(stopped.pid, signal.SIGCONT)

    until(lambda: maintenance.remove(leading, TIMEOUT))
    until(lambda: maintenance.remove(leading, TIMEOUT))
    assert len(until(lambda: maintenance.members(TIMEOUT))) == 2
    store.close()
    for each in members.values():
        each.stop()
    assert isinstance(first, EtcdMember)


@pytest.mark.slow
def test_a_watch_tells_each_change_once_though_its_member_is_killed(tmp_path: Path) -> None:
    member = started(member_options(tmp_path))
    from flin.cluster.etcd.etcd import EtcdKeyValueStore
    from flin.cluster.etcd.key_value import Get, ModRevision, Put, Unavailable

    store = EtcdKeyValueStore([member.options.client_endpoint])
    told: Queue[Any] = Queue()
    store.watch(b"k/", b"k0", 1, told.put)
    deadline = time.monotonic() + PATIENCE_SECONDS
    for number in range(240):
        if number % 60 == 30 and member.pid is not None:
            os.kill(member.pid, signal.SIGKILL)
        key = b"k/%03d" % number
        while True:
            assert time.monotonic() < deadline
            try:
                outcome = store.txn([ModRevision(key, 0)], [Put(key, b"")], [Get(key)], timeout=5.0)
            except Unavailable:
                time.sleep(0.01)
            else:
                assert outcome.succeeded or outcome.found[0].pairs
                break
    keys: list[bytes] = []
    while len(keys) < 240:
        keys += [event.pair.key for event in told.get(timeout=TIMEOUT).events]
    assert keys == [b"k/%03d" % number for number in range(240)]
    store.close()
    member.stop()


def test_certificates(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    with pytest.raises(CertificatesError, match=r"ca\.crt is missing"):
        read_certificates(tmp_path)
    one = make_certificates(tmp_path / "one", ["host1", "10.0.0.1"])
    assert Path(one.key).stat().st_mode & 0o077 == 0
    with pytest.raises(CertificatesError, match="name another directory"):
        make_certificates(tmp_path / "one", [])
    (tmp_path / "two").mkdir()
    for name in ("ca.crt", "ca.key"):
        (tmp_path / "two" / name).write_bytes((tmp_path / "one" / name).read_bytes())
    two = make_certificates(tmp_path / "two", ["host2"])
    assert two.authority_bytes() == one.authority_bytes()
    Path(two.key).write_bytes(one.key_bytes())
    with pytest.raises(CertificatesError, match="do not fit"):
        read_certificates(tmp_path / "two")
    (tmp_path / "two" / "ca.key").unlink()
    (tmp_path / "two" / "node.crt").unlink()
    (tmp_path / "two" / "node.key").unlink()
    with pytest.raises(CertificatesError, match="without its key"):
        make_certificates(tmp_path / "two", [])
