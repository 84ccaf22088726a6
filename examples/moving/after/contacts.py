"""A list of contacts on a `shelve` over Flin.

python examples/moving/after/contacts.py DIR
"""

import os
import shelve
import sys

import flin.dbm


def main(directory: str) -> None:
    os.makedirs(directory, exist_ok=True)
    with shelve.Shelf(flin.dbm.open(os.path.join(directory, "contacts"), "c")) as contacts:
        contacts["ada"] = {"name": "Ada Lovelace", "telephones": ["+44 20 1"]}
        contacts["grace"] = {"name": "Grace Hopper", "telephones": []}
        contacts["barbara"] = {"name": "Barbara Liskov", "telephones": ["+1 617 2", "+1 617 3"]}
    with shelve.Shelf(flin.dbm.open(os.path.join(directory, "contacts"), "w"), writeback=True) as contacts:
        contacts["grace"]["telephones"].append("+1 703 4")
        del contacts["barbara"]
    with shelve.Shelf(flin.dbm.open(os.path.join(directory, "contacts"), "r")) as contacts:
        print("contacts:", sorted(contacts))
        print("Grace:", contacts["grace"])
        print("Barbara?", "barbara" in contacts, contacts.get("barbara", "nobody"))
        try:
            contacts["eve"] = {}
        except Exception as error:
            print("opened to be read:", isinstance(error, OSError))


if __name__ == "__main__":
    main(sys.argv[1])
