"""Cells of a notebook that may be run again, in any order. Percent signs begin a cell.

An engine stays open until it is closed, and a second open of its directory raises LockedError. So the cell that opens
it first closes the one that an earlier run of the same cell has left.
"""

# %% Open the database; run this cell as often as you like.
import flin.engine

if "db" in globals():
    db.close()  # noqa: F821  the one of the last run
db = flin.engine.open("notebook-data")

# %% Work with it.
db[b"runs"] = b"%d" % (int(db.get(b"runs", b"0")) + 1)
print(f"run {db[b'runs'].decode()} times, {len(db):,} keys")

# %% Close it, so that another process or a restarted kernel can open it.
db.close()
