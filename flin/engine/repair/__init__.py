"""Repair of a damaged directory: it is read file by file, and the sound parts become a new one. It must not trust what
it reads, and never changes the directory that it is given.
"""
