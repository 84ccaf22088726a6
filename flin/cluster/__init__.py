"""One server of several processes: each *worker* serves one *group*, a range of the slots of a Redis Cluster.

It starts servers and must not know what they do with a request: which slot a key has, and what is answered for a slot
that is elsewhere, is the server's business (flin/net/cluster). The engine knows nothing of it but the name of the file
that tells a directory of groups from a database.
"""
