"""The databases: keys and their values as commands see them, cached replies, cursors, the observers of writes. It must
not know who asks.
"""
