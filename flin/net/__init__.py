"""The server: Redis's protocol over an engine's store. `server.py` is its life, `dispatch.py` a request's way."""
