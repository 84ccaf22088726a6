"""The embedded engine in a few lines: an ordered, durable dictionary of bytes in a directory.

python examples/embedded.py [DIR]
"""

import sys
import tempfile

import flin.engine


def main(directory: str) -> None:
    with flin.engine.open(directory) as db:
        db[b"user:1"] = b"Ada"
        db.put(b"session:1", b"token", ttl=3600)
        db.put_many([(b"user:2", b"Grace"), (b"user:3", b"Barbara")])  # all of them or none
        print("one key:     ", db[b"user:1"].decode())
        print("in order:    ", [value.decode() for _, value in db.scan(prefix=b"user:")])
        print("the last two:", [key.decode() for key in db.scan_keys(prefix=b"user:", reverse=True, limit=2)])
        print("counter:     ", [db.incr(b"visits") for _ in range(3)])
        print("time to live:", round(db.ttl(b"session:1") or 0), "s")
        with db.snapshot() as view:
            db.delete_prefix(b"user:")
            print(
                "users now:   ",
                len(list(db.scan_keys(prefix=b"user:"))),
                "and then:",
                len(list(view.scan(prefix=b"user:"))),
            )
    with flin.engine.open(directory) as db:
        print("after reopening:", dict(db.items()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(scratch)
