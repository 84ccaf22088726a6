"""SIGHUP: the configuration file is read again.

What has changed in it since it was read last, and may change at RUNNING, is changed; what CONFIG SET has changed since
stays, unless the file says something new of it. What needs a start is named in the log, and what the environment or the
command line has decided stays as it is. A file that is wrong changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from flin.errors import CommandError
from flin.net.settings.config import Config
from flin.net.settings.options import ROWS, ConfigError, ServerOptions, share_of
from flin.net.settings.reading import options_from_file

logger = logging.getLogger(__name__)


class Reloaded(NamedTuple):
    options: ServerOptions
    """With the changes in it."""
    changes: Mapping[str, Any]
    """The new values of what may change at RUNNING, by option."""
    later: tuple[str, ...]
    """What needs a start."""
    overridden: tuple[str, ...]
    """What was given elsewhere, which wins."""


def reloaded(options: ServerOptions, file_values: tuple[tuple[str, Any], ...]) -> Reloaded:
    """options: in force, perhaps a worker's. file_values: what the file says now, for the whole server."""
    before, now = dict(options.file_values), dict(file_values)
    differing = [row for row in ROWS.values() if before.get(row.name, row.default) != now.get(row.name, row.default)]
    elsewhere = dict(options.overridden)
    free = [row for row in differing if row.name not in elsewhere]
    changes = {
        row.name: share_of(row, now.get(row.name, row.default), options.workers) for row in free if row.is_running
    }
    return Reloaded(
        replace(options, file_values=file_values, **changes),
        changes,
        tuple(row.name for row in free if not row.is_running),
        tuple(f"{row.name} ({elsewhere[row.name]})" for row in differing if row.name in elsewhere),
    )


def reload(config: Config) -> None:
    """Read the file again, and say in the log what came of it."""
    path = config.options.config_file
    try:
        fresh = options_from_file(path)
        found = _put_in_force(config, fresh)
    except (ConfigError, CommandError) as error:
        logger.error("%s was not read again, nothing changes: %s", path, error)
        return
    except OSError as error:
        logger.error("%s was not read again, nothing changes: %s", path, error.strerror)
        return
    _tell(path, found, config.options)


def _put_in_force(config: Config, fresh: ServerOptions) -> Reloaded:
    """Raises CommandError; nothing is changed then."""
    before = config.options
    found = reloaded(before, fresh.file_values)
    config.options = found.options  # first: the initial password is that of the file
    kinds = {name: ROWS[name].kind for name in found.changes}
    shown = {name: kinds[name].show(kinds[name].in_force(value)) for name, value in found.changes.items()}
    try:
        config.set({ROWS[name].parameters[0]: value for name, value in shown.items()})
    except CommandError:
        config.options = before
        raise
    return found


def _tell(path: str, found: Reloaded, options: ServerOptions) -> None:
    logger.info("%s was read again: %s", path, ", ".join(found.changes) or "nothing changes at once")
    if options.topology is not None and options.topology.own:
        return  # the first of the workers says the rest for all
    if found.later:
        logger.warning("%s: %s is changed by a start only, so restart the server", path, ", ".join(found.later))
    if found.overridden:
        logger.warning("%s: given elsewhere, which wins: %s", path, ", ".join(found.overridden))
