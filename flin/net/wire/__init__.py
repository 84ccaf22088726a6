"""Bytes: requests from them, replies into them, and the numbers and patterns in them. Pure functions; it must know
neither commands, nor clients, nor sockets.
"""
