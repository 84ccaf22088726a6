"""How far a move has come, as a small file of JSON beside its target: one that was interrupted goes on from there."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from flin.errors import ImportDataError

FORMAT: Final = 1


@dataclass(slots=True)
class Place:
    path: str
    source: str
    """The server's address, without a password."""
    match: str = ""
    target: str = ""
    """What tells a directory from another one of the same name."""
    run_id: str = ""
    """The number of the server's process: cursors of another one mean nothing."""
    database: int = -1
    cursor: str = "0"
    done: list[int] = field(default_factory=list)
    keys: int = 0
    expiring: int = 0

    def save(self) -> None:
        """All that came before is durable. OSError."""
        content = {"flin_import": FORMAT, **asdict(self)}
        del content["path"]
        temporary = f"{self.path}.{os.getpid()}.tmp"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    def restart(self) -> None:
        """All is to come again."""
        self.database, self.cursor, self.done, self.keys, self.expiring = -1, "0", [], 0, 0

    def remove(self) -> None:
        if os.path.exists(self.path):
            os.unlink(self.path)


def maybe_place(path: str) -> Place | None:
    """The place that was saved; None: no move was interrupted. ImportDataError if the file is no such place."""
    try:
        with open(path, encoding="utf-8") as file:
            content: Any = json.load(file)
        if content.pop("flin_import") != FORMAT:
            raise ValueError("it is of another version of Flin")
        place = Place(path, **content)
        if not place.cursor.isdigit() or not all(type(number) is int for number in (*place.done, place.keys)):
            raise ValueError("a cursor or number is none")
        return place
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"it says not how far an import has come ({error}): remove it, and begin again"
        raise ImportDataError(path, "its content", reason) from error
