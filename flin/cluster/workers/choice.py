"""One process or several: what `--workers` means for a directory. Pure, so that every case is one line of a test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be started."""

    workers: int
    """1: one process, for plain clients."""
    remark: str = ""
    """For the line at the start, if something else was asked for."""
    refusal: str = ""
    """Why nothing is to be started; it says what to do."""


def choose(asked: int, groups: int, has_database: bool, cores: int, directory: str) -> Choice:
    """asked: by --workers. groups: of the directory; 0 if it is none of groups. has_database: a plain one.

    A number above twice the cores is taken for a copied command line of another program, whose workers were threads,
    unless the directory was made for it: a plain server must not become one that sends its clients elsewhere."""
    if groups:
        if asked == groups > 1:
            return Choice(asked)
        return Choice(
            0, refusal=f"{directory} is for {groups} workers: use --workers {groups}, or copy it with flin resize"
        )
    if asked > 2 * cores:
        return Choice(
            1, remark=f"; --workers {asked} is more than twice the {cores} cores here, so it is one process as ever"
        )
    if asked > 1 and has_database:
        return Choice(
            0,
            refusal=f"{directory} is a database for one process: copy it with "
            f"flin resize {directory} NEW --workers {asked}, then start with --dir NEW",
        )
    return Choice(asked)
