"""`flin serve` as a child process, for the examples."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import redis

START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class FlinServer:
    """A server that can be started and stopped again and again on the same directory."""

    def __init__(self, directory: str, port: int | None = None) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start the server. Returns the seconds until it answered."""
        command = [sys.executable, "-m", "flin", "serve", "--port", str(self.port), "--dir", self.directory]
        started = time.perf_counter()
        self._process = subprocess.Popen(command)
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return time.perf_counter() - started
                except redis.ConnectionError:
                    if self._process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                        self.kill()
                        raise
                    time.sleep(0.02)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def kill(self) -> None:
        """kill -9: the server cannot do anything before it ends."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """SIGTERM. Returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(timeout=START_SECONDS)
        self._process = None
        return code
