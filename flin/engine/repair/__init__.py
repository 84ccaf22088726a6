"""What damage leaves: a directory is read file by file, and what is sound becomes a new one. It must not trust what it
reads, and never changes the directory that it is given.
"""
