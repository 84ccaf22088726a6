"""What a tick has written and the engine has not taken yet, and which replies wait for the disk. It knows the engine
as a protocol (`store.py`); it must know neither Redis's databases nor clients.
"""
