"""The log: its file, which is renamed and opened anew, its forms and levels; and the file with the process's number."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from flin.cli import exit_code
from flin.net.diagnostics import Diagnostics
from flin.net.log_file import LogFile
from flin.net.pid_file import pid_file
from flin.net.settings.options import ConfigError, ServerOptions
from flin.testing.process import PATIENCE_SECONDS
from tests.net.test_server import Served, serve  # noqa: F401 - a fixture

logger = logging.getLogger("flin.tests")


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("flin", logging.INFO, "", 0, text, (), None)


def wait_for(path: Path, text: str, times: int = 1) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists() or path.read_text().count(text) < times:
        assert time.monotonic() < deadline, path.read_text() if path.exists() else f"{path} is not there"
        time.sleep(0.01)


def test_a_renamed_file_is_written_on_until_it_is_opened_anew(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    log = LogFile(str(path))
    log.emit(line("one"))
    path.rename(old)
    log.emit(line("two"))
    log.reopen()
    log.emit(line("three"))
    log.close()
    assert (old.read_text(), path.read_text()) == ("one\ntwo\n", "three\n")


def test_what_cannot_be_written_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = LogFile(str(folder / "log"))
    (folder / "log").rename(tmp_path / "log.1")
    folder.rmdir()
    log.reopen()
    log.emit(line("one"))
    folder.mkdir()
    log.emit(line("two"))
    log.close()
    assert capsys.readouterr().err == f"flin: logfile {folder}/log: No such file or directory: one\n"
    assert (folder / "log").read_text() == "two\n"


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logfile .*/no/log: No such file or directory"):
        Diagnostics(ServerOptions(logfile=str(tmp_path / "no" / "log")))


def test_lines_are_objects_in_json(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Diagnostics(ServerOptions(logfile=str(path), log_format="json"), "worker 3"):
        logger.debug("not this")
        logger.info("%s\n%s", "two", "lines")
        try:
            raise ValueError("an example")
        except ValueError:
            logger.exception("it failed")
    first, second = map(json.loads, path.read_text().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first.pop("time"))
    assert first == {"level": "info", "logger": "flin.tests", "message": "two\nlines", "process": "worker 3"}
    assert second["traceback"].endswith("ValueError: an example")


def test_lines_for_people_and_the_level(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Diagnostics(ServerOptions(logfile=str(path), log_level="warning")) as diagnostics:
        logger.info("not this")
        diagnostics.set_level("debug")
        logger.debug("this")
    assert re.fullmatch(r"[-\d]+ [:,\d]+ DEBUG flin\.tests: this\n", path.read_text())


def test_why_it_ended_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with pytest.raises(ConfigError), Diagnostics(ServerOptions(logfile=str(path))):
        raise ConfigError("the port is in use")
    assert "CRITICAL flin.net.diagnostics: the port is in use" in path.read_text()


# The process's number.


def test_the_number_is_there_while_the_block_runs(tmp_path: Path) -> None:
    path = tmp_path / "flin.pid"
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o777 == 0o644
    assert not path.exists()
    with pid_file(str(path)):
        path.write_text("1\n")
    assert path.read_text() == "1\n", "it is another's by now"
    with pid_file(""):
        assert list(tmp_path.iterdir()) == [path]


def test_a_number_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pidfile .*: No such file"), pid_file(str(tmp_path / "no" / "pid")):
        pass


# A server.


def test_signals_of_a_server(serve: Callable[..., Served], tmp_path: Path) -> None:  # noqa: F811
    log, pid, config = tmp_path / "flin.log", tmp_path / "flin.pid", tmp_path / "flin.toml"
    config.write_text(f'[server]\nlogfile = "{log}"\npidfile = "{pid}"\nmaxclients = 100\n')
    served = serve("--config", str(config))
    assert f", configuration {config}, 0 records" in served.line
    wait_for(log, served.line)
    assert int(pid.read_text()) == served.process.pid
    log.rename(tmp_path / "flin.log.1")
    served.process.send_signal(signal.SIGUSR1)
    wait_for(log, "the log file is opened anew")
    config.write_text(config.read_text().replace("100", "50") + "databases = 3\n")
    served.process.send_signal(signal.SIGHUP)
    wait_for(log, "WARNING flin.net.settings.reloading: ")
    with redis.Redis(port=served.port) as client:
        assert client.config_get("max*s")["maxclients"] == "50"
        client.config_set("loglevel", "warning")
        assert client.config_get("log*level") == {"log-level": "warning", "loglevel": "warning"}
    served.process.send_signal(signal.SIGUSR1)
    assert served.end(signal.SIGTERM) == 0
    assert "stopping" not in log.read_text(), "which is no warning"
    assert not pid.exists()


def test_a_second_server_leaves_the_number_of_the_first(serve: Callable[..., Served], tmp_path: Path) -> None:  # noqa: F811
    pid = tmp_path / "flin.pid"
    served = serve("--pidfile", str(pid))
    words = ["serve", "--dir", str(tmp_path / "db"), "--pidfile", str(pid), "--port", "0"]
    done = subprocess.run([sys.executable, "-m", "flin", *words], capture_output=True, timeout=60, check=False)
    assert done.returncode == exit_code.LOCKED
    assert int(pid.read_text()) == served.process.pid


def test_signals_are_passed_on_to_workers(serve: Callable[..., Served], tmp_path: Path) -> None:  # noqa: F811
    log, config = tmp_path / "flin.log", tmp_path / "flin.toml"
    config.write_text(f'[server]\nlogfile = "{log}"\nmaxclients = 100\nworkers = 2\n')
    served = serve("--config", str(config), "--pidfile", str(tmp_path / "pid"))
    log.rename(tmp_path / "flin.log.1")
    served.process.send_signal(signal.SIGUSR1)
    for name in ("supervisor", "worker 0", "worker 1"):
        wait_for(log, f"{name}: ")
    config.write_text(config.read_text().replace("100", "50"))
    served.process.send_signal(signal.SIGHUP)
    wait_for(log, f"{config} was read again: maxclients", 2)
    assert (tmp_path / "pid").read_text() == f"{served.process.pid}\n"
    assert served.end(signal.SIGTERM) == 0
