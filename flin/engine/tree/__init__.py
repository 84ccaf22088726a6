"""The store: commits, edits of the version, open tables, opening, stalls, closing. Its state alone says which work is
due; it must not know who does it: background/ does.
"""
