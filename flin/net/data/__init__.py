"""The databases: keys and their values as commands see them, cached replies, cursors, who is told of writes. It must
not know who asks.
"""
