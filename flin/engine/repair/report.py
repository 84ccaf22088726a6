"""The result of a repair: for each file, what was kept and what was lost, and warnings about what cannot be known."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from flin.engine.key import USER_END, namespace_of, user_key


@dataclass(frozen=True, slots=True)
class Loss:
    """Bytes of a file that no checksum proves, and what they held, as far as that is known."""

    offset: int
    bytes: int
    reason: str
    first: str | None = None
    """The lost keys are between this one (included) …"""
    last: str | None = None
    """… and this one, or a smaller one."""
    operations: int | None = None
    """In the WAL: the number of missing sequences."""

    def __str__(self) -> str:
        text = f"{self.bytes:,} bytes at offset {self.offset}: {self.reason}"
        if self.operations is not None:
            text += f"; {self.operations:,} operations"
        if self.first is not None and self.first == self.last:
            text += f"; key {self.first}"
        elif self.first is not None:
            text += f"; keys from {self.first}" + (f" to {self.last}" if self.last is not None else " on")
        return text


@dataclass(slots=True)
class FileReport:
    """One file. Only tables have entries, only segments operations; blocks are data blocks or frames."""

    file: str
    role: str  # "manifest", "wal", "table", "value"
    kept_blocks: int = 0
    kept_entries: int = 0
    kept_bytes: int = 0
    losses: list[Loss] = field(default_factory=list)
    note: str = ""

    def lose(self, loss: Loss) -> None:
        """Add a loss once, however often the place is read."""
        if loss not in self.losses:
            self.losses.append(loss)

    def add_note(self, text: str) -> None:
        if text not in self.note:
            self.note += f"; {text}" if self.note else text

    def kept(self) -> str:
        if self.role == "manifest":
            return "read" if not self.losses else "not used"
        if self.role == "value":
            return f"kept {self.kept_entries:,} {'value' if self.kept_entries == 1 else 'values'}"
        unit = ("frame" if self.role == "wal" else "block") + "s"[: self.kept_blocks != 1]
        single, many = ("operation", "operations") if self.role == "wal" else ("entry", "entries")
        entries = single if self.kept_entries == 1 else many
        return f"kept {self.kept_blocks:,} {unit} with {self.kept_entries:,} {entries}"


@dataclass(slots=True)
class RepairReport:
    source: str
    target: str | None  # None: nothing was written
    shards: int = 1
    keys: int = 0
    """Live keys in the result, of all namespaces together."""
    expired: int = 0
    """Those among them that have expired: the next open deletes them."""
    files: list[FileReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def lossless(self) -> bool:
        return not self.warnings and not any(file.losses for file in self.files)

    def file(self, name: str, role: str) -> FileReport:
        report = FileReport(name, role)
        self.files.append(report)
        return report

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def as_dict(self) -> dict[str, Any]:
        """The report as a dict, for JSON."""
        return {**asdict(self), "lossless": self.lossless}


def key_text(stored: bytes) -> str:
    r"""A key as text for people, "a\x00b"; an internal one with its namespace."""
    if stored < USER_END:
        return _quoted(user_key(stored))
    return f"[namespace {namespace_of(stored)}] {_quoted(stored[4:])}"


_SHOWN_BYTES = 64


def _quoted(data: bytes) -> str:
    text = ascii(data[:_SHOWN_BYTES])[2:-1].replace('"', '\\"').replace("\\'", "'")
    return f'"{text}"' + ("…" if len(data) > _SHOWN_BYTES else "")
