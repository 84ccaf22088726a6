"""The processes of one machine: the groups of a directory, the ports, the supervisor that starts workers and their
successors. It must not know etcd.
"""
