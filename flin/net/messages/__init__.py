"""What clients are sent that they have not asked for: publications, keyspace events, and who is to get them. It must
not know sessions, transports, nor how a command runs.
"""
