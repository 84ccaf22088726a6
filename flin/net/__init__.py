"""The server: Redis's protocol over an engine's store. `server.py` is its life, `dispatch.py` the way of a request."""
