"""`flin resize`: a directory of groups copied into one with another number of them, offline. It must know neither
servers nor nodes.
"""
