"""A Django site with a page that is cached, and one that counts a visitor's visits in a session. For gunicorn."""

from __future__ import annotations

import os
import time

from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    SECRET_KEY="secret",
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    CACHES={"default": {"BACKEND": os.environ["BACKEND"], "LOCATION": os.environ["URL"]}},
)

from django.core.wsgi import get_wsgi_application  # noqa: E402 - needs the settings
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.cache import cache_page  # noqa: E402


def visits(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


@cache_page(1000)
def made_at(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(time.time_ns()))


urlpatterns = [path("visits", visits), path("made-at", made_at)]
application = get_wsgi_application()
