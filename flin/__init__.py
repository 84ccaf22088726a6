"""Flin: an embedded, ordered, crash-safe key-value engine in pure Python, and a server behind the Redis protocol."""

__version__ = "0.1.0"
