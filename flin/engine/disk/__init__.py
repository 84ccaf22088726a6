"""The seam to the disk: files, their names, the lock of a directory. It knows neither tables nor frames; whoever
needs the operating system goes through `fs.py`, so that the tests can crash the engine at each of its calls.
"""
