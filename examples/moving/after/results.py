"""Results of jobs as JSON under the job's name. Kept by Flin.

python examples/moving/after/results.py DIR
"""

import sys

import flin.engine


def main(directory: str) -> None:
    with flin.engine.open(directory) as db:
        with db.write_batch() as batch:
            jobs = batch.prefixed(b"jobs:").typed(key=str, value="json")
            for number in range(5):
                jobs[f"job-{number}"] = {"state": "done", "seconds": number / 2}
        batch = db.write_batch()
        batch.prefixed(b"jobs:").typed(key=str, value="json")["job-9"] = {"state": "running"}
        batch.discard()  # never committed
    with flin.engine.open(directory) as db:
        jobs = db.prefixed(b"jobs:").typed(key=str, value="json")
        print("jobs:", len(jobs), sorted(jobs.keys()))
        jobs["job-3"] = {**jobs["job-3"], "state": "failed"}
        print("failed:", [name for name, job in jobs.items() if job["state"] == "failed"])
        del jobs["job-0"]
        print("job 0:", jobs.get("job-0"))
        hosts = db.prefixed(b"hosts:").typed(key=str, value="json")
        hosts["a"] = ["10.0.0.1"]
        print("hosts:", dict(hosts.items()))


if __name__ == "__main__":
    main(sys.argv[1])
