"""The contents of a database: the version (which tables form which run), the manifest that keeps it, the generations of
memtables and segments, and recovery, which finds them in a directory. It must not know how they are read or merged.
"""
