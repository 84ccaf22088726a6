"""Background work: which is due, and doing it. Jobs make files of files, inline, in threads or in a helper process. A
job must know nothing of the store but what it is given, since it may run in another process.
"""
