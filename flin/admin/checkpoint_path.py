"""Where the page's checkpoints are made: beside the database, so that they share its files, and nowhere else.

Whoever has the token names a checkpoint, but does not say where on the machine it is written.
"""

from __future__ import annotations

import os


def checkpoint_path(directory: str, name: str) -> str:
    """The directory of the checkpoint of this name.

    >>> checkpoint_path("/srv/data/", "before-the-change")
    '/srv/data.checkpoints/before-the-change'
    """
    return os.path.join(f"{os.path.abspath(directory)}.checkpoints", name)
