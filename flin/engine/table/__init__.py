"""One table on the disk: blocks, index, filter, footer, its writer and its state in memory. It knows no version, no
store and no other table: a table can be read and checked with nothing but its file and its `TableMeta`.
"""
