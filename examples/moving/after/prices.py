"""Prices that are dear to look up, kept for a while, and a counter of look-ups per minute. Kept by Flin.

python examples/moving/after/prices.py DIR
"""

import sys
import threading

import flin.engine

asked = []


def main(directory: str) -> None:
    db = flin.engine.open(directory)
    cache = db.typed(key=str, value="json")

    @db.memoize(ttl=3600)
    def price(article: str, *, currency: str = "EUR") -> float:
        asked.append(article)  # stands for a request of a second
        return len(article) * (1.0 if currency == "EUR" else 1.1)

    print("prices:", price("lamp"), price("lamp"), price("lamp", currency="USD"), "asked:", len(asked))

    cache.put("rate:USD", 1.1, ttl=600)
    print("rate:", cache.get("rate:USD"), "a rate that is not there:", cache.get("rate:XAU", None))

    def count() -> None:
        for _ in range(100):
            db.incr(b"look-ups")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("look-ups:", cache.get("look-ups"))

    with db.transaction() as transaction:
        moved = transaction.pop(b"rate:USD")
        transaction.put(b"old rate:USD", moved)
    print("moved:", cache.get("rate:USD"), cache.get("old rate:USD"))
    print("added:", cache.put_if_absent("old rate:USD", 0.0), cache.put_if_absent("rate:CHF", 0.9))
    db.close()


if __name__ == "__main__":
    main(sys.argv[1])
