"""Benchmarks: Flin beside its peers, in the same run, in turn, each measurement in a fresh process and directory.

Machines are noisy, so the figure that counts is a ratio: of each round Flin's rate over the faster peer's, of all
rounds the median. Durability is alike for all: a WAL, and no sync per write unless the row says so.

`embedded` compares engines inside a Python process (rocksdict, plyvel), `served` compares servers (redis-server,
measured by redis-benchmark), `compaction` looks at the latency of reads while compactions run, `load` at memory and
at the time to reopen. `flin bench` (flin/cli/bench.py) is the way in.
"""
