"""One table on the disk: blocks, index, filter, footer, who writes it and what of it is held in memory. It knows no
version, no store and no other table: a table can be read and checked with nothing but its file and its `TableMeta`.
"""
