"""``relay token``: make keys, sign tokens, look into tokens, from a shell.

The law: both spellings of the field's ``moq-token`` are understood (``--key`` before the command or
its options after it), secrets are written for their owner alone and nothing is overwritten unasked.
This module must not know rules of its own: what is valid is decided in `relay.auth`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as File
from typing import NamedTuple

import click

from relay.auth import keys as keyring
from relay.auth import mint
from relay.auth.cipher_names import cipher_names
from relay.auth.claims import TENANT_NAME, Claims, is_tenant
from relay.auth.decide import Request, decide
from relay.auth.keys import Key, KeySet
from relay.auth.material import ALGORITHMS
from relay.auth.mending import mending
from relay.auth.reason import Reason, Refusal, Trail
from relay.auth.scope import Scope
from relay.auth.settings import MAX_LEEWAY, AuthSettings
from relay.auth.trust import ClaimNames
from relay.auth.verify import FAR_FUTURE, verify
from relay.cli import is_of_output
from relay.cli.moment import read_time, show_time
from relay.cli.options import MAX_INPUT
from relay.errors import BadRequest, ConfigError
from relay.path import ROOT, Path, as_dialled, covering


class Invalid(click.ClickException):
    """The token, or what was to be signed, is not valid."""

    exit_code = 1


class Unusable(click.ClickException):
    """The command cannot be obeyed: a file, a key or an argument is not usable."""

    exit_code = 2


def _time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Callback of options that take a time."""
    try:
        return None if value is None else read_time(value, time.time())
    except ValueError as error:
        raise Unusable(f"{param.opts[0]}: {error}") from None


@click.group()
@click.option("--key", metavar="FILE", help="Key file, for all commands below ('-' = stdin).")
def token(key: str | None) -> None:
    """Make keys, sign tokens, look into tokens."""


_key_option = click.option("--key", metavar="FILE", help="Key file ('-' = stdin).")
_root_option = click.option("--root", default="", metavar="PATH", help="What prefixes start from.")
_publish_option = click.option(
    "--publish", multiple=True, metavar="PREFIX", help="May publish below; '' = all; repeatable."
)
_subscribe_option = click.option(
    "--subscribe",
    multiple=True,
    metavar="PREFIX",
    help="May subscribe below; '' = all; repeatable.",
)


@token.command()
@click.option("--key", metavar="FILE", help="The same as --out.")
@click.option(
    "--algorithm",
    default="HS256",
    type=click.Choice(list(ALGORITHMS)),
    help="What it signs with; default HS256.",
)
@click.option("--id", "kid", metavar="KID", help="Name of the key; default a random one.")
@click.option("--out", metavar="FILE", help="Where the key goes; default '-', standard output.")
@click.option("--out-dir", metavar="DIR", help="Write the key to DIR/KID.jwk.")
@click.option("--public", metavar="FILE", help="Write the public half too ('-' = stdout).")
@click.option("--public-dir", metavar="DIR", help="Write the public half to DIR/KID.jwk.")
@_root_option
@_publish_option
@_subscribe_option
@click.option("--tenant", metavar="NAME", help="Whose its tokens are; by itself: to any paths.")
@click.option("--base64/--json", "base64", help="Write base64url of the JSON; default JSON.")
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
def generate(
    key: str | None,
    algorithm: str,
    kid: str | None,
    out: str | None,
    out_dir: str | None,
    public: str | None,
    public_dir: str | None,
    root: str,
    publish: tuple[str, ...],
    subscribe: tuple[str, ...],
    tenant: str | None,
    base64: bool,
    force: bool,
) -> None:
    """Make a key. --root, --publish, --subscribe and --tenant limit what its tokens may ever be."""
    private_to = _one_of("--key, --out, --out-dir", _key_name(key), out, out_dir)
    public_to = _one_of("--public, --public-dir", public, public_dir)
    with _one_line():
        scope = _scope(root, publish, subscribe, tenant)
        made = keyring.generate(algorithm, kid, scope)
        wanted = [(private_to or "-", out_dir, made, 0o600)]
        if public_to is not None:
            wanted.append((public_to, public_dir, made.public(), 0o666))
        outputs = [
            _Output(str(File(folder, f"{half.kid}.jwk")) if folder else name, half, mode)
            for name, folder, half, mode in wanted
        ]
        names = [output.name for output in outputs]
        if len(set(names)) != len(names):
            raise ConfigError("both halves of the key would go to the same place")
        for output in outputs:
            if not force and output.name != "-" and _may_lose(output.name):
                raise ConfigError(f"{output.name} exists already: --force overwrites it")
        for output in outputs:
            _write(output.name, output.key.dump(base64) + b"\n", output.mode, force)


@token.command()
@_key_option
@_root_option
@_publish_option
@_subscribe_option
@click.option(
    "--decrypt",
    multiple=True,
    metavar="NAME",
    help="Cipher key whose fields are read in the clear; repeatable.",
)
@click.option("--cluster", is_flag=True, help="The bearer is another relay.")
@click.option(
    "--expires",
    metavar="TIME",
    callback=_time,
    help="End of the token: +1h, 7d, a date, unix seconds.",
)
@click.option("--issued", metavar="TIME", callback=_time, help="Time of signing; default now.")
@click.option("--not-before", metavar="TIME", callback=_time, help="Start of the token.")
@click.option("--subject", metavar="NAME", help="Whom the token is for (sub).")
@click.option("--audience", metavar="NAME", help="Which service the token is for (aud).")
@click.option("--token-id", metavar="ID", help="The token's own id (jti).")
@click.option("--tenant", metavar="NAME", help="Whose it is, for auth.claims.tenant = 'tenant'.")
def sign(
    key: str | None,
    root: str,
    publish: tuple[str, ...],
    subscribe: tuple[str, ...],
    decrypt: tuple[str, ...],
    cluster: bool,
    expires: int | None,
    issued: int | None,
    not_before: int | None,
    subject: str | None,
    audience: str | None,
    token_id: str | None,
    tenant: str | None,
) -> None:
    """Sign a token and print it."""
    now = time.time()
    with _one_line():
        claims = Claims(
            root=Path(root),
            put=covering(map(Path, publish)),
            get=covering(map(Path, subscribe)),
            exp=expires,
            nbf=not_before,
            iat=issued,
            sub=subject,
            jti=token_id,
            aud=None if audience is None else (audience,),
            cluster=cluster,
            decrypt=cipher_names(decrypt),
            tenant=tenant,
        )
        names = ClaimNames(tenant="tenant")
        signed = mint.sign(claims, _one_key(_required_key(key)), now, names)
    for warning in _doubts(claims, now):
        click.echo(f"Warning: {warning}", err=True)
    click.echo(signed)


@token.command("verify", short_help="Check a token and print what it claims.")
@_key_option
@click.option("--in", "source", default="-", metavar="FILE", help="The token; default stdin.")
@click.option("--root", metavar="PATH", help="Check that the token admits to this path, too.")
@click.option("--audience", metavar="NAME", help="What aud must name, as in auth.audience.")
@click.option("--leeway", default=0, type=click.IntRange(0, int(MAX_LEEWAY)), help="Seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print the claims as they were signed.")
def verify_token(
    key: str | None,
    source: str,
    root: str | None,
    audience: str | None,
    leeway: int,
    as_json: bool,
) -> None:
    """Check a token as a relay with this key would, and print what it claims."""
    name = _required_key(key)
    if name == "-" and source == "-":
        raise Unusable("the key and the token cannot both come from standard input")
    with _one_line():
        settings = AuthSettings(audience=audience, leeway=leeway)
        keys = _key_set(name)
        text = _read(source, MAX_INPUT).strip().decode("ascii", "replace")
        claims, warnings = _checked(text, keys, settings, root)
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(json.dumps(claims.raw, indent=2) if as_json else render(claims))


def render(claims: Claims) -> str:
    """Claims for people, in the shape that ``moq-token`` prints, and what it does not know."""
    lines = [
        f"root: {json.dumps(claims.root)}",
        f"publish: {json.dumps(claims.put)}",
        f"subscribe: {json.dumps(claims.get)}",
        f"expires: {_moment(claims.exp)}",
        f"cluster: {json.dumps(claims.cluster)}",
        f"issued: {_moment(claims.iat)}",
    ]
    if claims.decrypt:
        lines.append(f"decrypt: {json.dumps(claims.decrypt)}")
    return "\n".join(["Claims {", *(f"    {line}," for line in lines), "}"])


class _Output(NamedTuple):
    name: str
    key: Key
    mode: int


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn what the rooms below raise into one line and an exit status, in this one place."""
    try:
        yield
    except Refusal as refusal:
        raise Invalid(_sentence(refusal.reason)) from None
    except (ConfigError, BadRequest) as error:
        raise Unusable(str(error)) from None
    except OSError as error:
        if is_of_output(error):
            raise
        raise Unusable(f"{error.filename or '-'}: {error.strerror}") from None


def _sentence(reason: Reason) -> str:
    return f"{reason.text} ({mending(reason)})"


def _checked(
    text: str, keys: KeySet, settings: AuthSettings, root: str | None
) -> tuple[Claims, tuple[str, ...]]:
    now = time.time()
    if not text:
        raise Refusal("malformed", "no token was given")
    if len(text) > settings.max_token_bytes:
        raise Refusal("token_too_long", f"{len(text)} bytes (a relay takes 8192 by default)")
    trail = Trail()
    claims = verify(text, keys, settings, now, trail).claims
    if root is not None:
        decision = decide(Request(target=root, bearer=text), keys, settings, now)
        if not decision:
            raise Refusal(decision.reason.code, decision.reason.text, decision.reason.hint)
    return claims, tuple(step.detail for step in trail.steps if step.warning)


def _doubts(claims: Claims, now: float) -> Iterator[str]:
    """What is allowed in a token and yet is seldom meant."""
    if claims.exp is None:
        yield "the token never expires (--expires +1h)"
    elif claims.exp <= now:
        yield "the token has expired already"
    elif claims.exp - now > FAR_FUTURE:
        yield "the token lives for more than a century: --expires takes seconds"
    if (escaped := as_dialled(claims.root)) != claims.root:
        yield f"clients write that root as {escaped} in a URL: sign for --root {escaped}"
    if claims.decrypt and not claims.get:
        yield "--decrypt allows nothing to whoever may not subscribe (--subscribe)"
    for path in (claims.root, *claims.put, *claims.get):
        if strange := [part for part in path.segments if part in (".", "..") or "*" in part]:
            yield f"{strange[0]!r} in {str(path)!r} is taken literally"


def _scope(
    root: str, publish: tuple[str, ...], subscribe: tuple[str, ...], tenant: str | None
) -> Scope | None:
    if tenant is not None and not is_tenant(tenant):
        raise ConfigError(f"--tenant: {TENANT_NAME}")
    if publish or subscribe:
        put, get = (covering(map(Path, each)) for each in (publish, subscribe))
        return Scope(Path(root), put, get, tenant)
    if root:
        raise ConfigError("--root limits nothing without --publish or --subscribe")
    return None if tenant is None else Scope(put=(ROOT,), get=(ROOT,), tenant=tenant)


def _one_of(options: str, *given: str | None) -> str | None:
    chosen = [value for value in given if value is not None]
    if len(chosen) > 1:
        raise Unusable(f"give only one of {options}")
    return chosen[0] if chosen else None


def _key_name(key: str | None) -> str | None:
    """The key file, named before the command or after it."""
    parent = click.get_current_context().parent
    before = None if parent is None else parent.params.get("key")
    if before is not None and key is not None and before != key:
        raise Unusable("--key is given twice and differs")
    return key if key is not None else before


def _required_key(key: str | None) -> str:
    name = _key_name(key)
    if name is None:
        raise Unusable("--key is missing: which key file?")
    return name


def _key_set(name: str) -> KeySet:
    keys = KeySet.load(_read(name, keyring.MAX_KEY_FILE + 1), _shown(name))
    for line in keys.skipped:
        click.echo(f"Warning: {line}", err=True)
    return keys


def _one_key(name: str) -> Key:
    keys = _key_set(name)
    if len(keys) != 1:
        raise ConfigError(f"{_shown(name)}: {len(keys)} keys, one is needed to sign")
    return keys.keys[0]


def _shown(name: str) -> str:
    return "standard input" if name == "-" else name


def _read(name: str, limit: int) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(limit)
    with open(name, "rb") as file:
        return file.read(limit)


def _may_lose(name: str) -> bool:
    """Whether writing there takes away what it holds. An empty file, as of ``mktemp``, and a pipe
    are there to be written."""
    return os.path.lexists(name) and not (_is_blank(name) or _is_stream(name))


def _is_blank(name: str) -> bool:
    return os.path.isfile(name) and not os.path.getsize(name)


def _is_stream(name: str) -> bool:
    """Whether it is a pipe or a device."""
    return os.path.exists(name) and not (os.path.isfile(name) or os.path.isdir(name))


def _write(name: str, data: bytes, mode: int, force: bool) -> None:
    """Write a whole file or none, or fill one; ``mode`` holds from its first byte on."""
    if name == "-":
        click.echo(data, nl=False)
        return
    if _is_stream(name):
        with open(name, "wb") as stream:
            stream.write(data)
        return
    if _is_blank(name):
        _fill(name, data, mode)
        return
    name = os.path.realpath(name)  # a link stays: /dev/stdout is one
    target = f"{name}.{os.getpid()}.new" if force else name
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        if force:
            os.replace(target, name)
    except OSError as error:
        os.unlink(target)
        raise OSError(error.errno, error.strerror, name) from None


def _fill(name: str, data: bytes, mode: int) -> None:
    """Write into a file that is there and empty: whoever has it open, as a shell the one that
    ``/dev/stdout`` leads to, means this file and no other in its place."""
    with open(name, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)


def _moment(seconds: int | None) -> str:
    return "None" if seconds is None else f"Some({show_time(seconds)})"
