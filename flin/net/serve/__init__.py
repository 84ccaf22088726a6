"""From bytes to bytes: connections, their flow and output, dispatch, cold reads, the housekeeping. Nothing but
server.py stands above it.
"""
