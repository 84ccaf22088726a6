"""What is remembered of a client, and of all of them together: sessions, admission, buffers, counters. It must not know
transports, nor how a command runs.
"""
