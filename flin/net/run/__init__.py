"""Running one command: its context, the gates before it, the call, and EXEC, which calls many. It must know neither
bytes nor sockets: its results are values.
"""
