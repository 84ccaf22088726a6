"""A server as an operator runs it."""
