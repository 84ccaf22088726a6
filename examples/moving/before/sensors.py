"""Readings of sensors by time: the last ones, a day of one sensor, and its summary. Kept in LevelDB by plyvel.

python examples/moving/before/sensors.py DIR
"""

import sys

import plyvel

DAY = 86_400


def key_of(second: int) -> bytes:
    return second.to_bytes(8, "big")  # in order of time


def main(directory: str) -> None:
    db = plyvel.DB(directory, create_if_missing=True, bloom_filter_bits=10)
    readings = {name: db.prefixed_db(b"reading:" + name + b":") for name in (b"attic", b"cellar")}
    latest = db.prefixed_db(b"latest:")
    for second in range(0, 3 * DAY, 900):
        with db.write_batch(transaction=True) as batch:
            for name, degrees in ((b"attic", 18 + second // 900 % 7), (b"cellar", 9 + second // 900 % 3)):
                value = str(degrees).encode()
                batch.put(b"reading:" + name + b":" + key_of(second), value)
                batch.put(b"latest:" + name, value)
    print("latest:", {name.decode(): value.decode() for name, value in latest})

    with readings[b"attic"].iterator(start=key_of(DAY), stop=key_of(2 * DAY), include_key=False) as values:
        second_day = [int(value) for value in values]
    print("second day in the attic:", len(second_day), "readings, the warmest", max(second_day))

    newest = readings[b"cellar"].iterator(reverse=True, include_value=False)
    print("newest in the cellar:", [int.from_bytes(next(newest), "big") for _ in range(3)])

    with db.snapshot() as before:
        old = list(readings[b"cellar"].iterator(stop=key_of(DAY), include_value=False))
        with readings[b"cellar"].write_batch() as batch:
            for key in old:
                batch.delete(key)
        counts = [sum(1 for _ in view.iterator(prefix=b"reading:cellar:")) for view in (before, db)]
    print("in the cellar before and after the first day was deleted:", counts)
    print("is it there?", db.get(b"reading:cellar:" + key_of(0), b"no").decode())
    db.close()


if __name__ == "__main__":
    main(sys.argv[1])
