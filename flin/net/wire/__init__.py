"""Bytes: requests out of them, replies into them, and the numbers and patterns that stand in them. Pure functions; it
must know neither commands, nor clients, nor sockets.
"""
