"""Which work is due, and doing it: jobs make files of files, inline, in threads or in a helper process. A job must know
nothing of the store but what it is handed, since it may run in another process.
"""
