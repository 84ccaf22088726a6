"""Benchmarks: Flin compared with its peers, in turn in one run, each measurement in a fresh process and directory.

Machines are noisy, so the figure that counts is a ratio: Flin's rate over the faster peer's in each round, and the
median of all rounds. Durability is the same for all: a WAL, and no sync per write unless the row says so.

`plan` chooses the parts of a run. Inside a Python process, against rocksdict and plyvel: `embedded` (its rows in `row`
and `ycsb`), `sustained`, `opening`, `headline`. Servers, against redis-server: `served`; alone: `compaction`,
`beyond_memory`, `slow_sync`. By themselves: `curves` (costs as something grows), `steps` (where the time goes), `load`
(millions of keys), `pubsub` (messages), `transactions`, `encryption` and `backup`. `comparison` holds results, `target`
the goals, `report`, `picture` and `curve` show results.
`flin bench` (flin/cli/bench.py) is the entry.
"""
