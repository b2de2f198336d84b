"""The page as it is served: every file, nothing from elsewhere, and headers that keep it so."""

from __future__ import annotations

import asyncio
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

import relay
from relay.auth.reason import PLACES as REASONS
from relay.control import page

PLACES = {name: "/admin/" + ("" if name == "index.html" else name) for name in page.names()}


def text(name: str) -> str:
    return files(page).joinpath(name).read_text()


def offered(list_id: str) -> set[str]:
    found = re.search(rf'<datalist id="{list_id}">(.*?)</datalist>', text("index.html"))
    assert found
    return set(re.findall(r'value="(\w+)"', found[1]))


def ask(path: str, method: str = "GET", **headers: str) -> httpx.Response:
    """One request to the page's routes, which know WebTransport on port 4443."""

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=Starlette(routes=page.page_routes(4443)))
        base = "http://relay.example:8080"
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(run())


def directives(answer: Any) -> dict[str, list[str]]:
    found = {}
    for each in answer.headers["content-security-policy"].split("; "):
        name, *values = each.split()
        found[name] = values
    return found


@pytest.mark.parametrize("name", PLACES)
def test_every_file_is_served_as_what_it_is(name: str) -> None:
    answer = ask(PLACES[name])
    assert answer.status_code == 200
    assert answer.content == files(page).joinpath(name).read_bytes()
    assert answer.headers["content-type"] == page.TYPES[name.rpartition(".")[2]]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-cache"
    assert "access-control-allow-origin" not in answer.headers


def test_nothing_but_the_relay_is_loaded_and_nothing_inline_runs() -> None:
    assert directives(ask("/admin/")) == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "connect-src": ["'self'", "https://relay.example:4443"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }


@pytest.mark.parametrize("host", ["[::1]:8080", "x; script-src *", "a b", "*", "x,y", ""])
def test_a_strange_host_adds_nothing_to_the_policy(host: str) -> None:
    answer = ask("/admin/", host=host)
    assert directives(answer)["connect-src"] == ["'self'"]
    assert directives(answer)["script-src"] == ["'self'"]


def test_what_is_known_is_not_sent_again() -> None:
    first = ask("/admin/main.js")
    again = ask("/admin/main.js", **{"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-security-policy" in again.headers


def test_the_page_has_one_address_and_takes_no_other_names() -> None:
    assert ask("/admin").headers["location"] == "/admin/"
    for name in ("__init__.py", "nothing.js", "../routes.py", "%2e%2e/routes.py", "index.html"):
        assert ask(f"/admin/{name}").status_code == 404
    assert ask("/admin/", "POST").status_code == 405


@pytest.mark.parametrize("name", PLACES)
def test_nothing_points_elsewhere(name: str) -> None:
    found = set(re.findall(r"(?:https?:)?//[a-z0-9][^\s\"'`)]*", text(name)))
    assert found <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", [name for name in PLACES if name.endswith(".js")])
def test_data_never_becomes_markup_or_code(name: str) -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
    assert not re.search(sinks, text(name))
    assert re.match(r"// .+", text(name)), "a file says what it is for"
    for imported in re.findall(r'from "\./([a-z]+\.js)"', text(name)):
        assert imported in PLACES


def test_the_document_has_no_scripts_and_styles_of_its_own() -> None:
    document = text("index.html")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", document)
    assert re.findall(r"<script([^>]*)>", document) == [' type="module" src="main.js"']
    labelled = set(re.findall(r'<label[^>]* for="([\w-]+)"', document))
    inputs = set(re.findall(r'<(?:input|select) id="([\w-]+)"', document))
    assert inputs == labelled


def test_what_is_offered_to_filter_by_is_in_the_audit_log() -> None:
    """Whole actions, or the first word of several."""
    sources = Path(relay.__file__).parent.rglob("*.py")
    calls = re.compile(r"(?:audit|doing|_tell|_add|end)\(.{,120}", re.DOTALL)
    near = "\n".join(call for file in sources for call in calls.findall(file.read_text()))
    written = {each.partition(".")[0] for each in re.findall(r'"([a-z.]+)"', near)}
    assert offered("actions") <= written
    assert offered("words") <= {*REASONS, "over_quota"}


def test_the_key_is_kept_for_the_tab_only() -> None:
    scripts = "".join(text(name) for name in PLACES if name.endswith(".js"))
    assert "sessionStorage" in scripts
    assert not re.search(r"localStorage|indexedDB|document\.cookie", scripts)
