"""One server of several processes, on one machine or many: each process serves one *group*, a range of the slots of a
Redis Cluster, or a copy of it.

It starts servers and must not know what they do with a request: which slot a key has, and what is answered for a slot
that is elsewhere, is the server's business (flin/net/cluster). The engine knows nothing of it but the name of the file
that tells a directory of groups from a database, and the log that stands for its WAL in a replica.

This folder holds what the wings share: the keys in etcd, what they say of slots, and how a node asks another one.
"""
