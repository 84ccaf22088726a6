"""One row of the table of options: all that is to be known of an option, in one place.

The table is `ServerOptions` (options.py): a field's type and default, and its row. From the rows are made the command
line of `flin serve` and its help, the names in a TOML file and in the environment, CONFIG GET, SET and REWRITE, the
checks, and docs/configuration.md. A name has four spellings: memory_limit (TOML), FLIN_MEMORY_LIMIT, --memory-limit,
and memory-limit (CONFIG).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, replace
from enum import Enum
from typing import Any, Final

from flin.net.settings.kind import Kind
from flin.net.settings.parameter import IMMUTABLE, PROTECTED

ENVIRONMENT_PREFIX: Final = "FLIN_"


class Change(Enum):
    """What CONFIG SET says. Only what may change at RUNNING is changed by SIGHUP, too."""

    RUNNING = "it is changed"
    AT_START = "the value that it has may be set, as nothing happens"
    IMMUTABLE = IMMUTABLE
    PROTECTED = PROTECTED


class Section(Enum):
    """Where it stands in the help and on the page."""

    DATABASE = "Database"
    LISTENING = "Listening"
    TLS = "TLS"
    CLUSTER = "Nodes of a cluster"
    ACCESS = "Access"
    CLIENTS = "Clients"
    HTTP = "HTTP"
    LOGS = "Log and process"
    OBSERVING = "Observing"
    SCRIPTS = "Scripts and messages"
    COLLECTIONS = "Collections: when OBJECT ENCODING calls them large"


@dataclass(frozen=True, slots=True)
class Row:
    kind: Kind
    doc: str
    """One line."""
    section: Section
    change: Change = Change.AT_START
    place: str = ""
    """The attribute of Config with the value in force, if it is not the option's name."""
    check_running: Callable[[Any], None] | None = None
    """A further check of CONFIG SET. Raises ValueError in Redis's words."""
    show: Callable[[Any], bytes] | None = None
    """How CONFIG GET shows it, given the Config, if not as the kind does."""
    aliases: tuple[str, ...] = ()
    """Further names, of older versions of Redis."""
    told: str = ""
    """The default in words, if its value says little."""
    is_secret: bool = False
    """Neither shown nor repeated in an error."""
    is_divided: bool = False
    """It is for the whole server: each worker has its share."""
    is_repeated: bool = False
    """The command line may give several."""
    name: str = ""
    default: Any = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.name, *self.aliases

    @property
    def flag(self) -> str:
        return flag_of(self.name)

    @property
    def environment(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def parameters(self) -> list[bytes]:
        """CONFIG's names."""
        return [name.replace("_", "-").encode() for name in self.names]

    @property
    def is_running(self) -> bool:
        return self.change is Change.RUNNING

    @property
    def default_text(self) -> str:
        return self.told or self.kind.show(self.kind.in_force(self.default)).decode() or "none"


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def option(section: Section, default: Any, kind: Kind, doc: str, change: Change = Change.AT_START, **more: Any) -> Any:
    """A field of the table. more: as in Row."""
    return field(default=default, metadata={"row": Row(kind, doc, section, change, **more)})


def row_of(declared: Field[Any]) -> Row | None:
    """The row of a field; None: people do not give it."""
    row: Row | None = declared.metadata.get("row")
    if row is None:
        return None
    assert declared.default is not MISSING
    return replace(row, name=declared.name, default=declared.default)
