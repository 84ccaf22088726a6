"""Eviction: how a database with a size limit stays about as large as that. What its data take, which keys are worth
keeping, and deleting the others. It must not know Redis: the server evicts by its own ways, with what is here.
"""
