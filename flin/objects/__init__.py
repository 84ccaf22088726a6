"""Larger types on the engine: how hashes, lists, sets, sorted sets and streams lie in entries. It knows no sockets."""
