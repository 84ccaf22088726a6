"""Which files of the standard library use a word: an index in LMDB, by py-lmdb.

python examples/moving/before/words.py DIR
"""

import re
import sys
import sysconfig
from pathlib import Path

import lmdb

WORD = re.compile(rb"[a-z_]{4,24}")


def main(directory: str) -> None:
    env = lmdb.open(directory, map_size=1 << 28, max_dbs=2)
    words, files = env.open_db(b"words"), env.open_db(b"files")
    for path in sorted((Path(sysconfig.get_path("stdlib")) / "json").glob("*.py")):
        name = path.name.encode()
        with env.begin(write=True) as txn:  # a file and its words, or neither
            if txn.get(name, db=files) is not None:
                continue
            found = WORD.findall(path.read_bytes().lower())
            txn.put(name, str(len(found)).encode(), db=files)
            for word in set(found):
                txn.put(word + b"\0" + name, str(found.count(word)).encode(), db=words)

    with env.begin() as txn:
        print("files:", txn.stat(files)["entries"])
        cursor = txn.cursor(words)
        uses = {}
        if cursor.set_range(b"decoder\0"):
            for key, value in cursor:
                word, _, name = key.partition(b"\0")
                if word != b"decoder":
                    break
                uses[name.decode()] = int(value)
        print("decoder:", uses)
        cursor.set_range(b"deco")
        print("the first word from 'deco' on:", cursor.key().partition(b"\0")[0].decode())
        cursor.last()
        print("the last word:", cursor.key().partition(b"\0")[0].decode())

    try:
        with env.begin(write=True) as txn:
            txn.put(b"half.py", b"1", db=files)
            raise RuntimeError("no words")
    except RuntimeError as error:
        with env.begin() as txn:
            print(error, "- so it is not there:", txn.get(b"half.py", db=files))
    env.close()


if __name__ == "__main__":
    main(sys.argv[1])
