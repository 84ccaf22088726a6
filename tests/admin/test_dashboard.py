"""The dashboard's files: what they are served as, and that they ask for nothing else."""

from __future__ import annotations

import re

import pytest

from tests.admin.paged import Paged
from tests.source import ROOT

FOLDER = ROOT / "flin" / "admin" / "dashboard"


@pytest.mark.parametrize(
    ("path", "file", "content_type"),
    [
        ("/", "index.html", "text/html"),
        ("/dashboard.js", "dashboard.js", "text/javascript"),
        ("/dashboard.css", "dashboard.css", "text/css"),
    ],
)
def test_the_files(server: Paged, path: str, file: str, content_type: str) -> None:
    reply = server.ask("GET", path)
    assert reply.headers["Content-Type"] == f"{content_type}; charset=utf-8"
    assert reply.text == (FOLDER / file).read_text("utf-8")


def test_nothing_comes_from_elsewhere_and_nothing_becomes_markup() -> None:
    page, script, style = (
        (FOLDER / name).read_text("utf-8") for name in ("index.html", "dashboard.js", "dashboard.css")
    )
    for text in (page, style, script.replace("http://www.w3.org/2000/svg", "")):
        assert not re.search(r"https?://|//cdn|@import|url\(", text)
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"):
        assert way not in script
    assert not re.search(r"\son\w+=|style=|<script>|javascript:", page), "the policy forbids it"


def test_every_figure_that_it_shows_exists(server: Paged) -> None:
    figures = server.ask("GET", "/stats").json["groups"]["0"]
    script = (FOLDER / "dashboard.js").read_text("utf-8")
    paths = set(re.findall(r'"((?:server|engine)\.[a-z_.]+)"', script))
    assert len(paths) > 20
    for path in paths:
        found = figures
        for name in path.split("."):
            assert name in found, path
            found = found[name]
