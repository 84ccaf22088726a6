"""Results of jobs as JSON under the job's name. Kept by sqlitedict.

python examples/moving/before/results.py DIR
"""

import json
import os
import sys

from sqlitedict import SqliteDict


def main(directory: str) -> None:
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "results.sqlite")
    with SqliteDict(path, tablename="jobs", encode=json.dumps, decode=json.loads) as jobs:
        for number in range(5):
            jobs[f"job-{number}"] = {"state": "done", "seconds": number / 2}
        jobs.commit()
        jobs["job-9"] = {"state": "running"}  # never committed
    with SqliteDict(path, tablename="jobs", encode=json.dumps, decode=json.loads, autocommit=True) as jobs:
        print("jobs:", len(jobs), sorted(jobs.keys()))
        jobs["job-3"] = {**jobs["job-3"], "state": "failed"}
        print("failed:", [name for name, job in jobs.items() if job["state"] == "failed"])
        del jobs["job-0"]
        print("job 0:", jobs.get("job-0"))
    with SqliteDict(path, tablename="hosts", encode=json.dumps, decode=json.loads, autocommit=True) as hosts:
        hosts["a"] = ["10.0.0.1"]
        print("hosts:", dict(hosts.items()))


if __name__ == "__main__":
    main(sys.argv[1])
