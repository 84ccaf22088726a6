"""The Unix socket's file."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from flin.net.serve.unix_socket import UnixSocket
from flin.net.settings.options import ConfigError


def test_permissions_hold_from_the_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "flin.sock"
    seen: list[int] = []
    bind = socket.socket.bind

    class Noted(socket.socket):
        def bind(self, address: object) -> None:
            bind(self, address)  # type: ignore[arg-type]
            seen.append(stat.S_IMODE(path.stat().st_mode))

    monkeypatch.setattr("flin.net.serve.unix_socket.socket.socket", Noted)
    for permissions in (0o700, 0o770, 0o777):
        made = UnixSocket(str(path), permissions, 5)
        assert stat.S_IMODE(path.stat().st_mode) == permissions
        assert seen.pop() == permissions
        made.socket.close()
        made.remove()
        assert not path.exists()


def test_a_stale_one_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "flin.sock")
    UnixSocket(path, 0o700, 5).socket.close()  # as after kill -9
    again = UnixSocket(path, 0o700, 5)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    again.socket.close()
    again.remove()


def test_one_that_answers_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "flin.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        with pytest.raises(ConfigError, match="is in use: a server answers there"):
            UnixSocket(path, 0o700, 5)
        # The first one's question has filled the backlog.
        with pytest.raises(ConfigError, match="is in use: a server answers there"):
            UnixSocket(path, 0o700, 5)


def test_another_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "flin.sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is a file that is no socket"):
        UnixSocket(str(path), 0o700, 5)
    assert path.read_text() == "precious"


def test_a_place_where_there_can_be_none(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "flin.sock", tmp_path / ("long" * 40)):
        with pytest.raises(ConfigError, match="cannot listen on unixsocket"):
            UnixSocket(str(path), 0o700, 5)


def test_the_file_of_another_server_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "flin.sock"
    first = UnixSocket(str(path), 0o700, 5)
    first.socket.close()
    second = UnixSocket(str(path), 0o700, 5)
    first.remove()
    assert path.exists()
    second.socket.close()
    second.remove()
    second.remove()
    assert not path.exists()
