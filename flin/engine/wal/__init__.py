"""The write-ahead log: frames as bytes, their replay, who appends and syncs them. It must not know what is done with
what it replays: neither generations, nor recovery, nor the store.
"""
