"""The commands, a file per group, and the table that they declare themselves in. `every.py` imports them all."""
