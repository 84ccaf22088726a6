"""Flask-Caching and Flask-Session, by Flask's own test client."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_caching(served: Served) -> None:
    flask, caching = needs_package("flask"), needs_package("flask_caching")
    app = flask.Flask("site")
    cache = caching.Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": served.url})
    made = count(1)

    @app.route("/page/<name>")
    @cache.cached(timeout=1000, query_string=True)
    def page(name: str) -> str:
        return f"{name} {next(made)}"

    @cache.memoize(timeout=1000)
    def squared(number: int) -> tuple[int, int]:
        return number * number, next(made)

    browser = app.test_client()
    assert [browser.get("/page/a").text for _ in range(3)] == ["a 1", "a 1", "a 1"]
    assert browser.get("/page/a?sorted=1").text == "a 2"
    assert (squared(4), squared(5), squared(4)) == ((16, 3), (25, 4), (16, 3))
    cache.set_many({"x": 1, "y": [2]})
    served.kill_and_start()
    assert (browser.get("/page/a").text, squared(5), cache.get_many("x", "y")) == ("a 1", (25, 4), [1, [2]])
    cache.delete_memoized(squared, 5)
    assert (squared(5), squared(4)) == ((25, 5), (16, 3))
    assert cache.cache.inc("counter", 3) == 3
    assert cache.clear()
    assert browser.get("/page/a").text == "a 6"


def test_session(served: Served) -> None:
    flask, sessions = needs_package("flask"), needs_package("flask_session")
    with served.client() as client:
        app = flask.Flask("site")
        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client, PERMANENT_SESSION_LIFETIME=1000)
        sessions.Session(app)

        @app.route("/add/<word>")
        def add(word: str) -> Any:
            flask.session["words"] = [*flask.session.get("words", []), word]
            return flask.session["words"]

        @app.route("/leave")
        def leave() -> str:
            flask.session.clear()
            return ""

        one, other = app.test_client(), app.test_client()
        assert (one.get("/add/a").json, one.get("/add/b").json, other.get("/add/c").json) == (["a"], ["a", "b"], ["c"])
        served.kill_and_start()
        assert (one.get("/add/d").json, other.get("/add/e").json) == (["a", "b", "d"], ["c", "e"])
        assert {900 < client.ttl(key) <= 1000 for key in client.scan_iter("session:*")} == {True}
        one.get("/leave")
        assert (one.get("/add/f").json, client.dbsize()) == (["f"], 2)
