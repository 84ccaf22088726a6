"""A cluster as Redis's clients see it: which slot a key has, which node a slot. Pure; it must know neither commands,
nor clients, nor how nodes are made.
"""
