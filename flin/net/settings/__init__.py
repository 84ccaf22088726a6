"""The server's settings: its options, the parameters that CONFIG shows and changes, the limit of open files. It must
not know who reads them.
"""
