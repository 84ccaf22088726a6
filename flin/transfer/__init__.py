"""Keys and values as files, and back: export and import. It knows the server's databases and types, and no socket."""
