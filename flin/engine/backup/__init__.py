"""Copies of a database: checkpoints, backups and their restoring. Files into files, past the store's reads and writes;
of the store this wing knows only the capture (tree/capture.py)."""
