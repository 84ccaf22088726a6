"""From bytes to bytes: connections, their flow and output, dispatch, cold reads, what is done by the clock. Nothing but
server.py stands above it.
"""
