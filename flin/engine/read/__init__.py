"""Reading: memtables, then caches, then tables, and how their answers become one. It changes nothing on the disk and
must not know who writes, flushes or compacts.
"""
