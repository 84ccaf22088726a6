"""What there is: the version (which tables form which run), the manifest that keeps it, the generations of memtables
and segments, and recovery, which makes them out of a directory. It must not know how they are read or merged.
"""
