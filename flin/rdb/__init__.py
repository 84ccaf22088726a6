"""Redis's RDB format, version 10: the values of DUMP and RESTORE and whole files as bytes, and back. It is pure, and
must not know the engine, the server or how Flin keeps a value.
"""
