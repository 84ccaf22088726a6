"""A node: its etcd, its replicas, its page; how a cluster forms, and how the controller places and moves copies. All
else stands below it.
"""
