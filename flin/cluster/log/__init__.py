"""The log of a group: its entries, how a leader appends and a follower applies them, and what is kept of it. It must
know neither leases nor servers.
"""
