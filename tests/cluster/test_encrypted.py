"""`flin serve --encryption-key-file`, with one process and with workers: killed, restarted, and nothing readable."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from flin.testing.process import children
from tests.cluster.served import Served, key_of, refused

KEY = bytes(range(32)).hex()
OPTION = "--encryption-key-file"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_encrypted_server(tmp_path: Path, workers: int) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "other").write_text("00" * 32)
    served = Served(tmp_path, OPTION, "key", workers=workers)
    try:
        keys = [key_of(range(8192), "secret-name"), key_of(range(8192, 16384), "secret-name")]
        for number, key in enumerate(keys):
            client = served.client(number % len(served.ports))
            client.set(key, "secret-value" * 1000)
            client.rpush(f"{{{key}}}list", *["secret-element"] * 300)
            client.save()
        family = [served.pid]
        for pid in family:
            family += children(pid)
        for pid in family:
            for name in ("cmdline", "environ"):
                assert KEY.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert served.client().config_get("encryption-key-file") == {"encryption-key-file": "key"}
        served.end(signal.SIGKILL)
        served = Served(tmp_path, OPTION, "key", workers=workers)
        for number, key in enumerate(keys):
            client = served.client(number % len(served.ports))
            assert client.get(key) == "secret-value" * 1000
            assert client.strlen(key) == 12_000
            assert client.llen(f"{{{key}}}list") == 300
        assert served.end() == 0
    finally:
        served.program.kill()
    for path in (tmp_path / "db").rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes(), path
    options = ["--port", "0", "--dir", "db", "--workers", str(workers)]
    # One of the two ways for each: the engine's tests have both.
    more, expected = ([OPTION, "other"], "another key") if workers == 1 else ([], "is encrypted")
    code, printed = refused(tmp_path, *options, *more)
    assert (code, expected in printed) == (1, True), printed
