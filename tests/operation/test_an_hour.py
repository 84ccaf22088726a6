"""A stranger's hour: install, configure, secure, serve under systemd's protocol, watch, back up under load, break a
table, find it, restore, upgrade. Everything by the commands of the documents, in an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from flin.bench.server_process import free_port
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.source import ROOT

pytestmark = pytest.mark.slow

CONFIGURATION = """\
[server]
dir = "{home}/db"
port = {port}
aclfile = "{home}/users.acl"
http = "127.0.0.1:{http}"
http_token_file = "{home}/token"
backup_dir = "{home}/backups"
backup_keep = 5
memory_limit = "64mb"
sync = "always"
logfile = "{home}/flin.log"
"""

USERS = """\
user default off
user operator on >operators-word ~* &* +@all
user application on >applications-word ~app:* &* +@read +@write +@connection +@transaction -@dangerous
"""


class Host:
    """A machine with Flin in a virtual environment, and a service manager that is a socket."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.bin = home / "venv" / "bin"
        self.port, self.http = free_port(), free_port()
        self.environment = {**os.environ, "REDISCLI_AUTH": "operators-word"}

    def run(self, *words: str, code: int = 0) -> str:
        found = subprocess.run(
            words, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=10 * PATIENCE_SECONDS
        )
        assert found.returncode == code, (words, found.stdout, found.stderr)
        return found.stdout + found.stderr

    def flin(self, *words: str, code: int = 0) -> str:
        return self.run(str(self.bin / "flin"), *words, code=code)

    def install(self) -> None:
        """What `pip install 'flin[server,http]'` leaves: the wheel of this tree, and the packages that it needs."""
        self.run(sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", "venv")
        [site] = (self.home / "venv" / "lib").glob("python*/site-packages")
        packages = next(path for path in sys.path if path.endswith("site-packages"))
        (site / "packages.pth").write_text(f"{packages}\n")
        shutil.copytree(ROOT / "flin", site / "flin", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        script = f"#!{self.bin}/python\nimport sys\nfrom flin.cli.main import main\nsys.exit(main())\n"
        (self.bin / "flin").write_text(script)
        (self.bin / "flin").chmod(0o755)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """As systemd does it with contrib/systemd/flin.service: it waits for READY=1, and ends it with SIGTERM."""
        path = str(self.home / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(path)
            told.settimeout(PATIENCE_SECONDS)
            environment = {**self.environment, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"}
            command = [str(self.bin / "flin"), "serve", "--config", "flin.toml"]
            with subprocess.Popen(command, cwd=self.home, env=environment, stdout=subprocess.DEVNULL) as process:
                try:
                    while b"READY=1" not in told.recv(4096):
                        pass
                    self.pid = process.pid
                    yield
                finally:
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(PATIENCE_SECONDS) == 0
        os.unlink(path)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=PATIENCE_SECONDS) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def client(self, user: str, password: str) -> redis.Redis:
        return redis.Redis(port=self.port, username=user, password=password)


class Load:
    """An application that counts, and keeps what it was answered."""

    def __init__(self, host: Host) -> None:
        self.answered = 0
        self._client = host.client("application", "applications-word")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            number = self.answered + 1
            with self._client.pipeline(transaction=True) as step:
                step.set("app:count", number)
                step.set(f"app:row:{number}", "x" * 200)
                step.execute()
            self.answered = number


def test_an_hour(tmp_path: Path) -> None:
    host = Host(tmp_path)

    # Install, configure, secure.
    host.install()
    assert re.fullmatch(r"flin \d\S*\n", host.flin("--version"))
    (tmp_path / "flin.toml").write_text(CONFIGURATION.format(home=tmp_path, port=host.port, http=host.http))
    (tmp_path / "users.acl").write_text(USERS)
    (tmp_path / "token").write_text("a-token-of-more-than-16-characters\n")
    (tmp_path / "token").chmod(0o600)
    assert "The options are right" in host.flin("serve", "--check-config", "--config", "flin.toml")

    with host.serving(), Load(host) as load:
        # Who may not, may not.
        with redis.Redis(port=host.port) as nobody, pytest.raises(redis.AuthenticationError):
            nobody.get("app:count")
        with host.client("application", "applications-word") as application:
            with pytest.raises(redis.exceptions.NoPermissionError):
                application.get("other")
            with pytest.raises(redis.exceptions.NoPermissionError):
                application.flushall()

        # Watch.
        assert host.get("/health")[0] == 200
        assert host.get("/ready")[0] == 200
        assert re.search(r"^flin_ready\{[^}]*\} 1", host.get("/metrics")[1], re.MULTILINE)
        url = f"redis://operator@127.0.0.1:{host.port}"
        assert "keys " in host.flin("stats", url)

        # Back up under load, twice: what was answered before is in it.
        wait_until(lambda: load.answered > 100, "the load")
        with host.client("operator", "operators-word") as operator:
            counts = []
            for _ in range(2):
                counts.append(load.answered)
                assert operator.save()
            wait_until(lambda: load.answered > counts[-1] + 100, "the load goes on")
            host.flin("compact", url)
            assert "all files well" in host.flin("check", url)
            operator.config_set("slowlog-log-slower-than", 5000)
            os.kill(host.pid, signal.SIGHUP)
            wait_until(lambda: operator.ping(), "it goes on after SIGHUP")
    answered = load.answered

    # Break a table, find it.
    assert "all well" in host.flin("check", "db")
    table = max((tmp_path / "db").glob("*.sst"), key=lambda path: path.stat().st_size)
    with table.open("r+b") as file:
        file.seek(200)
        file.write(b"\x00\xff\x00\xff")
    assert table.name in host.flin("check", "db", code=1)
    with host.serving(), host.client("operator", "operators-word") as operator:
        with operator.pipeline(transaction=False) as reads:
            for number in range(1, answered + 1):
                reads.get(f"app:row:{number}")
            replies = reads.execute(raise_on_error=False)
        refused = [str(reply) for reply in replies if isinstance(reply, redis.ResponseError)]
        assert 0 < len(refused) < answered, "the other blocks are read"
        assert all(f"corruption: {table.name} is damaged" in text for text in refused)
        wait_until(lambda: "Run: flin check" in host.get("/ready")[1], "/ready tells of the damage")
        assert host.get("/ready")[0] == 503
        assert "corruption" in operator.info("flin")["alarms"]
    log = (tmp_path / "flin.log").read_text()
    assert re.search(rf"ERROR .*{table.name}.*run: flin check", log)

    # Restore: all that was answered before the backup began.
    host.flin("restore", "backups", "again")
    assert "all well" in host.flin("check", "again")
    (tmp_path / "db").rename(tmp_path / "damaged")
    (tmp_path / "again").rename(tmp_path / "db")
    with host.serving(), host.client("operator", "operators-word") as operator:
        count = int(operator.get("app:count") or 0)
        assert counts[1] <= count <= answered
        assert operator.exists(*(f"app:row:{number}" for number in range(1, count + 1))) == count
        assert operator.dbsize() == count + 1
        assert host.get("/ready")[0] == 200

    # Upgrade: another version in the same place, on the same directory.
    [version] = (tmp_path / "venv" / "lib").glob("python*/site-packages/flin/__init__.py")
    version.write_text(re.sub(r'__version__ = ".*"', '__version__ = "9.9.9"', version.read_text()))
    with host.serving(), host.client("operator", "operators-word") as operator:
        assert operator.info("flin") is not None
        assert int(operator.get("app:count") or 0) == count
    assert "flin 9.9.9 is ready" in (tmp_path / "flin.log").read_text()
