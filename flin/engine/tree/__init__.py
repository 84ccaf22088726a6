"""The store: commits, edits of the version, open tables, opening, stalls, closing. It says what is due by its state
alone, and must not know who carries it out: that is background/'s.
"""
