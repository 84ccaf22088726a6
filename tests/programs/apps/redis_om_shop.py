"""Customers of a shop, kept by redis-om as hashes."""

from __future__ import annotations

import os
import sys

from redis_om import HashModel, NotFoundError, get_redis_connection


class Customer(HashModel, index=True):  # type: ignore[call-arg]
    name: str
    age: int
    remark: str | None = None

    class Meta:
        database = get_redis_connection(url=os.environ["URL"])
        global_key_prefix = "shop"


if sys.argv[1] == "save":
    for number in range(100):
        Customer(name=f"name {number}", age=number).save()
    ada = Customer(name="Ada", age=36, remark="first")
    ada.save()
    ada.expire(1000)
    ada.update(age=37)
    print("saved", ada.pk)
else:
    ada = Customer.get(sys.argv[2])
    assert (ada.name, ada.age, ada.remark) == ("Ada", 37, "first"), ada
    assert 900 < ada.db().ttl(ada.key()) <= 1000
    keys = list(Customer.all_pks())
    assert len(keys) == 101
    assert sum(Customer.get(key).age for key in keys) == sum(range(100)) + 37
    Customer.delete(ada.pk)
    try:
        Customer.get(ada.pk)
    except NotFoundError:
        print("deleted")
