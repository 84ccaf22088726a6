"""The one process that writes: it reads lines like "tea 3.20" and puts them into the database.

python examples/prices.py [DIR]

The readers are other processes: wsgi_readers.py, asgi_readers.py.
"""

import sys

import flin.engine


def main(directory: str) -> None:
    with flin.engine.open(directory, sync="always") as db:
        print("ready", flush=True)
        for line in sys.stdin:
            name, price = line.split()
            db.put(name.encode(), price.encode())
            print("stored", name, price, flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "prices")
