"""The write-ahead log: frames as bytes, their replay, appending and syncing. It must not know its users: neither
generations, nor recovery, nor the store.
"""
