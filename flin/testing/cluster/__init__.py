"""What clients of a cluster saw while it was broken, and whether that can be: histories, their checker, loads, faults.

It knows nodes as processes and clients as packages. It must not know how the cluster works: what is checked is what
clients were told."""
