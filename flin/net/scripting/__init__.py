"""Lua: the sandbox, its values, scripts and functions. `runtime.py` alone imports lupa, and only when the first script
comes. It must not know connections.
"""
