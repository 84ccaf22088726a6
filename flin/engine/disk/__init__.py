"""The seam to the disk: files, their names, the lock of a directory. It knows neither tables nor frames. All calls of
the operating system go through `fs.py`, so that the tests can crash the engine at each of them.
"""
