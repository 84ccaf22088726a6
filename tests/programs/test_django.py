"""Django's own Redis cache, and a site whose sessions and pages are in it; both also with django-redis."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from typing import Any

import pytest

from flin.testing.process import PATIENCE_SECONDS
from tests.program import running
from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"


@pytest.fixture(params=[DJANGO, DJANGO_REDIS], ids=["django", "django-redis"])
def backend(request: pytest.FixtureRequest) -> str:
    needs_package("django")
    if request.param == DJANGO_REDIS:
        needs_package("django_redis")
    name: str = request.param
    return name


@pytest.fixture
def cache(served: Served, backend: str) -> Iterator[Any]:
    from django.conf import settings
    from django.core.cache import caches
    from django.test.utils import override_settings

    if not settings.configured:
        settings.configure()
    configured = {"default": {"BACKEND": backend, "LOCATION": f"{served.url}/1", "KEY_PREFIX": "site"}}
    with override_settings(CACHES=configured):
        yield caches["default"]
        caches.close_all()


def test_cache(served: Served, cache: Any) -> None:
    assert cache.add("first", {"a": [1, 2]}, timeout=1000)
    assert not cache.add("first", "other")
    cache.set("forever", "x", timeout=None)
    cache.set("gone", "x", timeout=0)
    cache.set_many({f"many:{number}": number for number in range(100)})
    assert cache.get_many([f"many:{number}" for number in range(98, 102)]) == {"many:98": 98, "many:99": 99}
    assert (cache.incr("many:5", 3), cache.decr("many:5")) == (8, 7)
    with pytest.raises(ValueError, match="absent"):
        cache.incr("absent")
    assert cache.get_or_set("made", lambda: b"\x00bytes") == b"\x00bytes"
    assert (cache.touch("first", 2000), cache.touch("absent")) == (True, False)
    cache.set("first", "new version", version=2)
    served.kill_and_start()
    assert cache.get("first") == {"a": [1, 2]}
    assert cache.get("first", version=2) == "new version"
    assert (cache.get("forever"), cache.get("gone", "default"), cache.has_key("made")) == ("x", "default", True)
    assert cache.incr_version("forever") == 2
    assert (cache.get("forever"), cache.get("forever", version=2)) == (None, "x")
    cache.delete_many([f"many:{number}" for number in range(100)])
    assert cache.get_many([f"many:{number}" for number in range(100)]) == {}
    with served.client() as client:
        client.set("of another program", 1)
    cache.clear()
    assert cache.get("first") is None


def test_site(served: Served, backend: str) -> None:
    environment = {"URL": served.url, "BACKEND": backend}
    gunicorn = ["-m", "gunicorn", "--bind", "127.0.0.1:0", "--workers", "2", "tests.programs.apps.django_site"]
    with running(served.folder, gunicorn, **environment) as site:
        address = site.found(r"Listening at: (http://[\d.:]+)")
        browser, other = (
            urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar())) for _ in range(2)
        )

        def ask(path: str, by: urllib.request.OpenerDirector = browser) -> int:
            with by.open(f"{address}/{path}", timeout=PATIENCE_SECONDS) as reply:
                return int(reply.read())

        made_at = ask("made-at")
        assert [ask("visits") for _ in range(5)] == [1, 2, 3, 4, 5]
        assert ask("visits", other) == 1
        served.kill_and_start()
        assert (ask("visits"), ask("visits", other)) == (6, 2), "who has a session still has it"
        assert ask("made-at", other) == made_at


def test_more_of_django_redis(served: Served) -> None:
    """What it has beside Django's interface: times to live, patterns, locks, its raw client."""
    needs_package("django_redis")
    from django.conf import settings
    from django.core.cache import caches
    from django.test.utils import override_settings

    if not settings.configured:
        settings.configure()
    with override_settings(CACHES={"default": {"BACKEND": DJANGO_REDIS, "LOCATION": f"{served.url}/1"}}):
        cache: Any = caches["default"]
        for number in range(300):
            cache.set(f"user:{number}", number, timeout=1000)
        assert 900 < cache.ttl("user:1") <= 1000
        assert cache.persist("user:1")
        assert cache.ttl("user:1") is None
        assert cache.expire("user:1", 500)
        assert sorted(cache.keys("user:1?")) == sorted(f"user:1{digit}" for digit in range(10))
        assert len(list(cache.iter_keys("user:2*"))) == 111
        with cache.lock("work", timeout=1000):
            assert not cache.lock("work").acquire(blocking=False)
        assert cache.set("once", 1, nx=True)
        assert not cache.set("once", 2, nx=True)
        served.kill_and_start()
        assert cache.delete_pattern("user:2*") == 111
        assert (cache.get("user:2"), cache.get("user:3")) == (None, 3)
        assert cache.incr("once", 4) == 5
        caches.close_all()
