"""etcd: a store of keys that a majority agrees on, as a protocol, in memory, and over gRPC; and its members as
children. It must not know what the keys mean.
"""
