"""A member of etcd that Flin runs as a child process: its flags, its start, its end.

It ends when its parent ends, however that comes: on Linux the kernel kills it. (Elsewhere a parent that is killed
leaves it behind, and the next start says that its ports are taken.) If it ends by itself it is started again.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from flin.cluster.etcd.certificates import Certificates
from flin.cluster.etcd.etcd_channels import Access, Channels
from flin.cluster.etcd.etcd_maintenance import EtcdMaintenance
from flin.cluster.etcd.etcd_version import Version, flaw_of, version_of
from flin.cluster.etcd.key_value import KeyValueError
from flin.errors import FlinError

logger = logging.getLogger(__name__)

CLIENT_PORT_OFFSET: Final = 100
"""A member's client address has its peer address's host, and this port above that one's."""

QUOTA_BYTES: Final = 4 << 30

FLAGS: Final = (
    "--pre-vote",  # a member that comes back does not depose a leader
    "--heartbeat-interval=100",
    "--election-timeout=1000",
    # Entries of raft stay in memory till the next snapshot, and some thousands after it. Measured with entries of
    # 16 KiB: 230 MB for good, against 460 MB and growing with the default of 100,000.
    "--snapshot-count=1000",
    "--auto-compaction-mode=revision",
    "--auto-compaction-retention=10000",
    "--grpc-keepalive-min-time=500ms",  # Flin pings often, so that it soon learns that a member stands still
    "--logger=zap",
    "--log-level=warn",
    "--log-outputs=stderr",
)
CATCH_UP_ENTRIES: Final = 1000

START_SECONDS: Final = 10.0
"""How long a start waits for an answer. A member of several answers once a majority of them runs, whenever that is."""

STOP_SECONDS: Final = 5.0
"""After SIGTERM a member hands its leadership over, which takes an election's time at most; then it is killed: what it
has answered is on its disk."""

FIRST_PAUSE_SECONDS: Final = 0.5
LAST_PAUSE_SECONDS: Final = 15.0
"""Before it is started again: each pause is twice the one before, till it has run for longer than the last."""

MAX_LOG_BYTES: Final = 16 << 20
"""How large etcd.log may be, before it is moved to etcd.log.1."""

LOG_SECONDS: Final = 60.0
"""Between two looks at its size."""

TOLD_LINES: Final = 3
TAKEN_SECONDS: Final = 3.0
"""How long a start waits for its ports: the etcd of a node that was killed is just ending."""

POLL_SECONDS: Final = 0.05
ASK_SECONDS: Final = 1.0

_BOOT: Final = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Asks for a signal at the parent's end (PR_SET_PDEATHSIG, which outlives exec), then becomes etcd."""


class EtcdError(FlinError):
    """etcd is not installed, or does not start; the text says what to do."""


@dataclass(frozen=True)
class MemberOptions:
    name: str
    directory: Path
    """The node's: data goes to `etcd` in it, what etcd says to `etcd.log`."""
    host: str
    """As others reach it."""
    peer_port: int
    listen_address: str
    """Where it listens; etcd takes no names (`resolve`)."""
    cluster: Mapping[str, str]
    """The peer URLs of all members by their names, this one's among them."""
    token: str
    is_joining: bool = False
    certificates: Certificates | None = None
    quota_bytes: int = QUOTA_BYTES
    program: str = "etcd"

    @property
    def client_port(self) -> int:
        return self.peer_port + CLIENT_PORT_OFFSET

    @property
    def peer_url(self) -> str:
        return self._url(self.host, self.peer_port)

    @property
    def client_endpoint(self) -> str:
        return f"{_bracketed(self.host)}:{self.client_port}"

    def _url(self, host: str, port: int) -> str:
        return peer_url(host, port, is_encrypted=self.certificates is not None)

    def arguments(self, version: Version) -> list[str]:
        """etcd's, for a version of it."""
        given = {
            "name": self.name,
            "data-dir": str(self.directory / "etcd"),
            "listen-peer-urls": self._url(self.listen_address, self.peer_port),
            "listen-client-urls": self._url(self.listen_address, self.client_port),
            "initial-advertise-peer-urls": self.peer_url,
            "advertise-client-urls": self._url(self.host, self.client_port),
            "initial-cluster": ",".join(f"{name}={url}" for name, url in self.cluster.items()),
            "initial-cluster-state": "existing" if self.is_joining else "new",
            "initial-cluster-token": self.token,
            "quota-backend-bytes": str(self.quota_bytes),
        }
        if self.certificates is not None:
            files = self.certificates
            for prefix in ("", "peer-"):
                given[f"{prefix}trusted-ca-file"] = files.authority
                given[f"{prefix}cert-file"] = files.certificate
                given[f"{prefix}key-file"] = files.key
                given[f"{prefix}client-cert-auth"] = "true"
        if version >= (3, 6):
            given["snapshot-catchup-entries"] = str(CATCH_UP_ENTRIES)
        elif version >= (3, 5, 13):
            given["experimental-snapshot-catchup-entries"] = str(CATCH_UP_ENTRIES)
        return [*FLAGS, *(f"--{name}={value}" for name, value in given.items())]


def peer_url(host: str, port: int, *, is_encrypted: bool) -> str:
    return f"{'https' if is_encrypted else 'http'}://{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def resolve(host: str) -> str:
    """A host's address, of IPv4 if it has one. Raises EtcdError."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EtcdError(f"the host {host} has no address: {error.strerror}") from error
    addresses = sorted(found, key=lambda each: each[0] != socket.AF_INET)
    return str(addresses[0][4][0])


def await_ports(address: str, peer_port: int) -> None:
    """Till nobody listens where a member is to listen. Raises EtcdError."""
    deadline = time.monotonic() + TAKEN_SECONDS
    for port in (peer_port, peer_port + CLIENT_PORT_OFFSET):
        while (problem := _why_not(address, port)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if problem:
            raise EtcdError(
                f"etcd cannot listen at {_bracketed(address)}:{port}: {problem}; it takes the port of --raft, and the "
                f"one {CLIENT_PORT_OFFSET} above"
            )


def _why_not(address: str, port: int) -> str:
    try:
        socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def has_begun(directory: Path) -> bool:
    """Whether a member in this node's directory was ever started: etcd makes that folder whole, by a rename."""
    return (directory / "etcd" / "member" / "wal").is_dir()


def is_loopback(host: str) -> bool:
    """Nobody else reaches it. Raises EtcdError."""
    return ip_address(resolve(host)).is_loopback


def find_etcd(program: str = "etcd") -> tuple[str, Version]:
    """Its path and version. Raises EtcdError."""
    path = shutil.which(program)
    if path is None:
        raise EtcdError(
            f"{program} is not installed: `apt-get install etcd-server` (Debian, Ubuntu), or https://etcd.io. "
            "Or give the addresses of one that runs: --etcd URL,URL,URL"
        )
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    version = version_of(done.stdout.partition("etcd Version: ")[2].partition("\n")[0])
    if not version:
        raise EtcdError(f"{path} --version does not say that it is etcd: {(done.stdout + done.stderr).strip()[:200]}")
    if flaw := flaw_of(version):
        raise EtcdError(f"{path} is not used: {flaw}")
    return path, version


_ADVICE: Final = (
    (
        "the member has been permanently removed from the cluster",
        "this node has left the cluster: remove its directory, and give --join if it is to join again",
    ),
    (
        "error validating peerURLs",
        "this node was admitted to the cluster, but has left since, or other members came or went before its etcd was "
        "started: give --join, so that it asks again",
    ),
    (
        "Was the raft log corrupted, truncated, or lost?",
        "this node's etcd has less on its disk than it had told the others: its data was lost, or is that of a backup. "
        "At another node `flin cluster leave` it, remove its directory, then let it join again",
    ),
    (
        "no space left on device",
        "the disk of this node's directory is full, and its etcd needs 64 MB there to begin: make room, then start the "
        "node again",
    ),
)
"""What etcd says, among other things, as it ends; and what is to be done."""


class EtcdMember:
    """Runs from `start` to `stop`. `note_end(text)` is called, in a thread of its own, each time that it has ended by
    itself and before it is started again."""

    def __init__(self, options: MemberOptions, note_end: Callable[[str], None] | None = None) -> None:
        self.options = options
        self._note_end = note_end
        self._path, self.version = find_etcd(options.program)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="etcd member", daemon=True)
        self._is_started = False
        self._failure: str | None = None
        """Why it ended before it was started."""

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None else process.pid

    def start(self, timeout: float = START_SECONDS) -> None:
        """Returns when it answers clients, or after this time: then it waits for others. Raises EtcdError if it has
        ended."""
        self.options.directory.mkdir(parents=True, exist_ok=True)
        await_ports(self.options.listen_address, self.options.peer_port)
        deadline = time.monotonic() + timeout
        self._keeper.start()
        threading.Thread(target=self._bound_log, name="etcd log", daemon=True).start()
        access = Access(self.options.certificates)
        with closing(Channels([self.options.client_endpoint], access)) as channels:
            while not self._answers(EtcdMaintenance(channels)) and time.monotonic() < deadline:
                if self._failure is not None:
                    self.stop()
                    raise EtcdError(self._failure)
                time.sleep(POLL_SECONDS)
        self._is_started = True

    def _answers(self, maintenance: EtcdMaintenance) -> bool:
        if self._process is None:
            return False
        try:
            maintenance.status(self.options.client_endpoint, ASK_SECONDS)
        except KeyValueError:
            return False
        return True

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help. May be called again."""
        self._ending.set()
        if self._keeper.ident is None:  # its ports were taken
            return
        self._signal(signal.SIGTERM)
        self._keeper.join(STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self._keeper.join()

    def _signal(self, number: int) -> None:
        with self._lock:
            if self._process is not None:
                self._process.send_signal(number)

    def _keep(self) -> None:
        """The thread that starts it and waits for it. (Linux sends the signal of a parent's end when the *thread* ends
        that has started a child.)"""
        pause = FIRST_PAUSE_SECONDS
        while not self._ending.is_set():
            began = time.monotonic()
            ended = self._run()
            if self._ending.is_set():
                break
            ran = time.monotonic() - began
            text = self._advice() or f"etcd has ended {ended} after {ran:.1f} s: {self._last_words()}"
            if not self._is_started:
                self._failure = text
                break
            logger.error("%s", text)
            if self._note_end is not None:
                self._note_end(text)
            pause = FIRST_PAUSE_SECONDS if ran > LAST_PAUSE_SECONDS else min(2 * pause, LAST_PAUSE_SECONDS)
            self._ending.wait(pause)

    def _run(self) -> str:
        """From a start to the end: how that came."""
        log = self._log
        command = [sys.executable, "-I", "-S", "-c", _BOOT, str(os.getpid()), self._path]
        with log.open("ab") as output, self._lock:
            self._log_start = output.tell()
            if self._ending.is_set():
                return "before its start"
            process = self._process = subprocess.Popen(
                [*command, *self.options.arguments(self.version)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                process_group=0,  # what a terminal sends reaches it only through its parent
            )
        code = process.wait()
        with self._lock:
            self._process = None
        return f"by signal {-code}" if code < 0 else f"with code {code}"

    _log_start: int = 0

    @property
    def _log(self) -> Path:
        return self.options.directory / "etcd.log"

    def _bound_log(self) -> None:
        """etcd has the file open, and appends: so what is there is copied, then cut off."""
        while not self._ending.wait(LOG_SECONDS):
            try:
                self.cut_log()
            except OSError as error:
                logger.warning("cannot move %s: %s", self._log, error.strerror)

    def cut_log(self) -> None:
        if self._log.stat().st_size > MAX_LOG_BYTES:
            shutil.copyfile(self._log, self._log.with_suffix(".log.1"))
            os.truncate(self._log, 0)
            self._log_start = 0

    def _advice(self) -> str:
        """What is to be done, if that is known; else nothing."""
        said = "\n".join(self._said())
        return next((advice for sign, advice in _ADVICE if sign in said), "")

    def _last_words(self) -> str:
        return " | ".join(self._said()[-TOLD_LINES:]) or f"it said nothing ({self._log})"

    def _said(self) -> list[str]:
        """What it has said last, since it was started."""
        log = self._log
        try:
            with log.open("rb") as file:
                file.seek(max(self._log_start, log.stat().st_size - 65536))
                return file.read().decode(errors="replace").splitlines()
        except OSError as error:
            return [f"{log}: {error.strerror}"]


def _environment() -> dict[str, str]:
    """Without ETCD_…: each of these would be a flag."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
