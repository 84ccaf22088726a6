"""What is known of a command without running it: its row in the table, its flags and keys, the facts that COMMAND DOCS
and the reference print. It must know neither handlers nor data.
"""
