"""The banner: facts in, lines out."""

from __future__ import annotations

import io

from rich.console import Console

from relay.cli.banner import Banner, Demo, lines, show

TOKEN = "eyJ" + "x" * 300


def rendered(banner, **options):
    out = io.StringIO()
    show(banner, Console(file=out, width=80, highlight=False, **options))
    return out.getvalue()


def test_it_says_where_it_listens_and_what_is_public():
    banner = Banner(
        "[::]:4443", "ab" * 32, ["http://localhost:4443/"], publish=["anon"], subscribe=["", "x"]
    )
    text = rendered(banner)
    assert "udp [::]:4443" in text
    assert "http://localhost:4443/" in text
    assert "sha256 " + "ab" * 32 in text
    assert "publish /anon; subscribe everything, /x" in text
    assert "\x1b" not in text


def test_nothing_public_is_said():
    assert "nothing: everybody needs a token" in rendered(Banner("a:1", "00"))
    assert "publish nothing; subscribe /a" in rendered(Banner("a:1", "00", subscribe=["a"]))


def test_another_server_says_what_is_public():
    text = rendered(Banner("a:1", "00", decides="the server of auth.url"))
    assert "public  what the server of auth.url says" in text
    assert "nothing" not in text


def test_an_address_to_copy_stands_alone_and_whole_on_its_line():
    publisher, subscriber = f"http://h/demo?jwt={TOKEN}p", f"http://h/demo?jwt={TOKEN}s"
    banner = Banner("a:1", "00", demo=Demo(".venv/bin/relay", publisher, subscriber))
    rows = rendered(banner).splitlines()
    assert publisher in rows
    assert subscriber in rows
    assert f".venv/bin/relay subscribe '{subscriber}' clock seconds" in rows
    assert any(
        row.endswith(f"| .venv/bin/relay publish '{publisher}' clock seconds") for row in rows
    )


def test_the_lines_to_paste_carry_what_the_command_needs():
    demo = Demo("relay", "https://h/p", "https://h/s", " --tls-fingerprint ab")
    rows = rendered(Banner("a:1", "00", demo=demo)).splitlines()
    assert "relay subscribe --tls-fingerprint ab 'https://h/s' clock seconds" in rows
    assert any(" publish --tls-fingerprint ab 'https://h/p' clock" in row for row in rows)


def test_the_dashboard_is_shown_with_the_key_that_was_made_for_it():
    page = "http://localhost:4443/admin/"
    assert f"   dashboard  {page}" in rendered(Banner("a:1", "00", dashboard=page)).splitlines()
    demo = Demo("relay", "https://h/p", "https://h/s", key="s.t")
    rows = rendered(Banner("a:1", "00", dashboard=page, demo=demo)).splitlines()
    assert rows[rows.index(f"   dashboard  {page} with the key") + 1] == "s.t"
    assert "dashboard" not in rendered(Banner("a:1", "00"))


def test_a_certificate_that_browsers_do_not_pin_is_told():
    rows = rendered(Banner("a:1", "00", unpinned="it lives 365 days")).splitlines()
    at = rows.index(" certificate  sha256 00")
    assert rows[at + 1] == "    browsers  will not pin that certificate: it lives 365 days"
    assert "browsers" not in rendered(Banner("a:1", "00"))


def test_a_terminal_gets_colours_and_the_same_words():
    plain = rendered(Banner("a:1", "00"))
    coloured = rendered(Banner("a:1", "00"), force_terminal=True, color_system="standard")
    assert "\x1b" in coloured
    assert plain.splitlines()[1].split()[0] in coloured


def test_markup_in_a_prefix_is_only_text():
    assert any("[red]" in line.text for line in lines(Banner("a:1", "00", publish=["[red]"])))
    assert "[red]" in rendered(Banner("a:1", "00", publish=["[red]"]))
