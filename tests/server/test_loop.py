"""Which event loop a relay runs in."""

import asyncio

import pytest

from relay.errors import ConfigError
from relay.server import loop


def ran(wanted: loop.Wanted) -> str:
    found: list[str] = []

    async def main() -> None:
        found.append(loop.running())

    loop.run(main(), wanted)
    return found[0]


def test_uvloop_where_it_is_installed_and_wanted() -> None:
    assert ran("auto") == ran("uvloop") == "uvloop"
    assert ran("asyncio") == "asyncio"


def test_asyncio_where_it_is_not(monkeypatch) -> None:
    monkeypatch.setattr(loop, "uvloop", None)
    assert ran("auto") == ran("asyncio") == "asyncio"
    with pytest.raises(ConfigError, match=r"server\.loop: uvloop is not installed"):
        ran("uvloop")


def test_what_is_raised_comes_out() -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        loop.run(main(), "auto")
