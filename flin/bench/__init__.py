"""Benchmarks: Flin compared with its peers, in turn in one run, each measurement in a fresh process and directory.

Machines are noisy, so the figure that counts is a ratio: of each round Flin's rate over the faster peer's, of all
rounds the median. Durability is alike for all: a WAL, and no sync per write unless the row says so.

`plan` says what a run consists of. Inside a Python process, against rocksdict and plyvel: `embedded` (its rows in `row`
and `ycsb`), `sustained`, `opening`, `headline`. Servers, against redis-server: `served`; alone: `compaction`,
`beyond_memory`, `slow_sync`. By themselves: `curves` (costs as something grows), `steps` (where the time goes) and
`load` (millions of keys). `comparison` holds results, `target` what they have to reach, `report`, `picture` and
`curve` show them. `flin bench` (flin/cli/bench.py) is the way in.
"""
