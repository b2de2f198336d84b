"""Every setting as a flag, by its dotted name: ``--auth-key-dir`` for ``auth.key_dir``.

Upstream's spellings are flags as well, so that a unit file written for its relay starts this one.
The law: a flag says what the same text would in a variable, may be repeated where the setting is a
list, and needs ``=`` for a value where it is a switch. This module must not know what settings do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import click

from relay.config import names, sources

_ALIASES = {
    "tls.disable_verify": "client.tls.disable_verify",
    "tls.fingerprint": "client.tls.fingerprint",
    "tls.root": "client.tls.root",
    "tls.self_sign": "server.tls.generate",
    "tls.system_roots": "client.tls.system_roots",
    "websocket.delay": "client.websocket.delay",
    "websocket.enabled": "client.websocket.enabled",
}
"""Flags of older relays that no longer are what the dotted name would be in a file."""

_SWITCHES = frozenset(
    {
        *("disable_relay", "disable_verify", "enabled", "gso", "io_uring", "lan", "mtu_discovery"),
        *("once", "pin", "reconnect", "system_roots", "ws"),
    }
)
"""Last words of upstream's switches among the settings that are not built here."""


class Flag(NamedTuple):
    """What a flag stands for."""

    setting: str
    """Dotted name, as upstream spells it where that is not ours."""
    is_switch: bool


def _spelled(dotted: str) -> str:
    return "--" + dotted.replace(".", "-").replace("_", "-")


def _is_switch(name: str) -> bool:
    if names.is_unbuilt(name):
        return name.rpartition(".")[2] in _SWITCHES
    return names.TYPES.get(names.canonical(name)) is bool


def _known() -> dict[str, Flag]:
    named = {_spelled(name): name for name in names.spellings()}
    named |= {_spelled(name): setting for name, setting in (_ALIASES | names.SHORT).items()}
    return {flag: Flag(name, _is_switch(name)) for flag, name in named.items()}


_KNOWN = _known()


def find(flag: str) -> Flag | None:
    """What a flag without its value stands for, if it is a setting's."""
    if flag in _KNOWN:
        return _KNOWN[flag]
    name = names.unbuilt(flag, _spelled, "-")
    return None if name is None else Flag(name, _is_switch(name))


class WithSettings(click.Command):
    """A command that takes every setting as a flag beside those it lists.

    Its callback gets them as ``settings``: values by dotted name.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the settings out, and leave the rest to click."""
        listed = {flag for each in self.params for flag in each.opts}
        rest: list[str] = []
        texts: dict[str, list[str]] = {}
        waiting = iter(args)
        for each in waiting:
            flag, equals, text = each.partition("=")
            found = find(flag) if flag not in listed else None
            if each == "--":
                rest += [each, *waiting]
            elif found is None:
                rest.append(each)
            else:
                if not equals:
                    text = "true" if found.is_switch else _next(waiting, flag)
                texts.setdefault(found.setting, []).append(text)
        ctx.params["settings"] = {name: together(name, said) for name, said in texts.items()}
        try:
            return super().parse_args(ctx, rest)
        except click.NoSuchOption as error:
            # Click knows those alone that are listed.
            near = _near(error.option_name, listed)
            raise click.NoSuchOption(error.option_name, None, near, ctx) from None


def _near(flag: str, listed: Iterable[str]) -> list[str]:
    """The flags that were probably meant, the nearest first."""
    obeyed = (name for name, each in _KNOWN.items() if each.setting not in names.REFUSED)
    return difflib.get_close_matches(flag, dict.fromkeys((*listed, *obeyed)), 3, 0.75)


def _next(waiting: Any, flag: str) -> str:
    text: str | None = next(waiting, None)
    if text is None:
        raise click.BadOptionUsage(flag, f"Option '{flag}' requires an argument.")
    return text


def together(name: str, texts: Sequence[str]) -> Any:
    """What the texts of one flag say together. Raises `click.UsageError`."""
    try:
        values = [sources.decoded(names.canonical(name), text) for text in texts]
    except ValueError as error:
        raise click.UsageError(f"{_spelled(name)}: {error}") from None
    if len(values) == 1:
        return values[0]
    if name in names.WHOLE:
        values = [[value] if isinstance(value, str) else value for value in values]
    if not all(isinstance(value, list) for value in values):
        raise click.UsageError(f"{_spelled(name)} is given twice")
    return [item for value in values for item in value]
