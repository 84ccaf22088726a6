"""Which files of the standard library use a word: an index in Flin.

python examples/moving/after/words.py DIR
"""

import re
import sys
import sysconfig
from pathlib import Path

import flin.engine

WORD = re.compile(rb"[a-z_]{4,24}")


def main(directory: str) -> None:
    db = flin.engine.open(directory)
    for path in sorted((Path(sysconfig.get_path("stdlib")) / "json").glob("*.py")):
        name = path.name.encode()
        with db.transaction() as txn:  # a file and its words, or neither
            words, files = txn.prefixed(b"words:"), txn.prefixed(b"files:")
            if files.get(name) is not None:
                continue
            found = WORD.findall(path.read_bytes().lower())
            files.put(name, str(len(found)).encode())
            for word in set(found):
                words.put(word + b"\0" + name, str(found.count(word)).encode())

    with db.snapshot() as txn:
        words, files = txn.prefixed(b"words:"), txn.prefixed(b"files:")
        print("files:", len(files))
        uses = {}
        for key, value in words.scan(prefix=b"decoder\0"):
            uses[key.partition(b"\0")[2].decode()] = int(value)
        print("decoder:", uses)
        first = words.next_key(b"deco")
        print("the first word from 'deco' on:", first.partition(b"\0")[0].decode())
        last = words.last()
        print("the last word:", last.partition(b"\0")[0].decode())

    try:
        with db.transaction() as txn:
            txn.prefixed(b"files:").put(b"half.py", b"1")
            raise RuntimeError("no words")
    except RuntimeError as error:
        print(error, "- so it is not there:", db.get(b"files:half.py"))
    db.close()


if __name__ == "__main__":
    main(sys.argv[1])
