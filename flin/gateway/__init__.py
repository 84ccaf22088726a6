"""The gateway: a server's keys by gRPC, in a process of its own (`flin grpc`).

It speaks RESP3 to the server, like any client, and must not know `flin.net`: a call of gRPC costs 25 times the
processor time of a request of Redis's protocol, which would be taken from other clients. It may die alone.
"""
