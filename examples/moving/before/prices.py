"""Prices that are dear to look up, kept for a while, and a counter of look-ups per minute. Kept by diskcache.

python examples/moving/before/prices.py DIR
"""

import sys
import threading

import diskcache

asked = []


def main(directory: str) -> None:
    cache = diskcache.Cache(directory)

    @cache.memoize(expire=3600)
    def price(article: str, *, currency: str = "EUR") -> float:
        asked.append(article)  # stands for a request of a second
        return len(article) * (1.0 if currency == "EUR" else 1.1)

    print("prices:", price("lamp"), price("lamp"), price("lamp", currency="USD"), "asked:", len(asked))

    cache.set("rate:USD", 1.1, expire=600)
    print("rate:", cache.get("rate:USD"), "a rate that is not there:", cache.get("rate:XAU", default=None))

    def count() -> None:
        for _ in range(100):
            cache.incr("look-ups")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("look-ups:", cache.get("look-ups"))

    with cache.transact():
        moved = cache.pop("rate:USD")
        cache.set("old rate:USD", moved)
    print("moved:", cache.get("rate:USD"), cache.get("old rate:USD"))
    print("added:", cache.add("old rate:USD", 0.0), cache.add("rate:CHF", 0.9))
    cache.close()


if __name__ == "__main__":
    main(sys.argv[1])
