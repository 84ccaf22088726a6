"""One copy of a group and its process: who leads, who takes over, what is served meanwhile, and copies of tables for
those that are too far behind. It must not know the node around it.
"""
