"""What is seldom meant: lints over settings and over the files and servers they name.

The law: a lint states a fact and what to do about it, and never changes or forbids anything; every
one has a stable name and one severity for one situation. This module must not know how files are
read or servers asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from urllib.parse import urlsplit

from relay.auth.access import is_taken
from relay.auth.browser import is_loopback
from relay.auth.credentials import KINDS
from relay.auth.dialling import dialled
from relay.auth.needs import member
from relay.auth.rules import Accepts
from relay.cluster.address import is_place, parse
from relay.config.findings import Finding, Inspection, ReadCertificate, Severity
from relay.config.names import SETTINGS
from relay.config.shape import Address
from relay.net.picking import pick
from relay.net.tls import MAX_PINNED_DAYS
from relay.path import Path
from relay.records.address import read_address
from relay.records.sealing import VARIABLE

SOON = 7 * 86_400
"""Seconds before its end at which a certificate is about to expire."""

MAX_PINNED = MAX_PINNED_DAYS * 86_400
"""Longest validity in seconds that browsers accept of a pinned certificate."""

SHORT_LIVED = 2 * 86_400
"""The same as `SOON` for certificates that live no longer than `MAX_PINNED`."""

LONG_LEEWAY = 300
"""Seconds of clock difference beyond which it is better to set the clocks."""

Lint = Callable[[Inspection], Iterator[Finding]]


def lint(seen: Inspection) -> list[Finding]:
    """All findings."""
    return [finding for each in LINTS for finding in each(seen)]


def open_to_the_world(seen: Inspection) -> Iterator[Finding]:
    """What needs no token."""
    for verb, severity in _OPEN:
        for prefix in _public(seen, verb):
            name = f"auth.public.{verb}"
            if not prefix:
                text = f"anybody may {verb} everything, without a token"
                mend = "name the prefixes that may be public, and sign tokens for the rest"
                yield seen.finding(f"open_{verb}", severity, name, text, mend)
            elif verb == "publish":
                text = f"anybody may publish below /{prefix}, without a token"
                mend = "where only watching is public say auth.public = { subscribe = […] }"
                yield seen.finding("public_publish", "note", name, text, mend)


_OPEN: tuple[tuple[str, Severity], ...] = (("publish", "error"), ("subscribe", "warning"))


def _public(seen: Inspection, verb: str) -> tuple[Path, ...]:
    """The prefixes that are public, unless ``enforce_jwt`` has a token for all of them."""
    auth = seen.settings.auth
    return getattr(auth.public, verb) if is_taken(verb, auth, "public") else ()


def public_covers_private(seen: Inspection) -> Iterator[Finding]:
    """A prefix that is open although some key or credential seems to guard it."""
    for verb in ("publish", "subscribe"):
        for who, guarded in _guarded(seen, verb):
            for prefix in _public(seen, verb):
                if guarded.is_under(prefix):
                    text = f"/{guarded} is open to {verb} without a token, and {who} guards it"
                    mend = f"take {str(prefix) or 'everything'} out of auth.public, or narrow it"
                    name = f"auth.public.{verb}"
                    yield seen.finding("public_covers_private", "warning", name, text, mend)


def _guarded(seen: Inspection, verb: str) -> Iterator[tuple[str, Path]]:
    member = "put" if verb == "publish" else "get"
    for source in seen.evidence.keys:
        for key in source.keys.keys:
            scope = key.scope
            if scope is not None:
                for prefix in getattr(scope, member):
                    yield f"the scope of the key {key.kid or source.place}", scope.root.join(prefix)
    for name, each in seen.settings.auth.api_keys.items():
        for prefix in getattr(each, verb):
            yield f"the API key {name}", each.root.join(prefix)


def keys_without_scope(seen: Inspection) -> Iterator[Finding]:
    """Keys whose tokens may allow anything. With one key only that is the usual thing."""
    keys = [(source, key) for source in seen.evidence.keys for key in source.keys.keys]
    severity: Severity = "warning" if len(keys) > 1 else "note"
    for source, key in keys:
        if key.scope is not None:
            continue
        text = f"{source.place}: {_called(key.kid)} has no scope: its tokens may allow everything"
        mend = "relay token generate --root … --publish … --subscribe … makes one with a scope"
        if source.remote:
            mend = "keys of others have none: bind them with issuer and audience"
        yield seen.finding("key_without_scope", severity, source.setting, text, mend)


def tenants_of_any_key(seen: Inspection) -> Iterator[Finding]:
    """Keys whose tokens name whose they are, though they were meant to reach only so far."""
    claim = seen.settings.auth.claims.tenant
    for source in seen.evidence.keys if claim is not None else ():
        for key in source.keys.keys:
            if key.scope is None or key.scope.reaches_all or key.tenant is not None:
                continue
            text = (
                f"{source.place}: {_called(key.kid)} has a scope, and its tokens may name any "
                f"tenant in {claim} all the same: they use up the quotas of that one, and escape "
                "a revocation of their own"
            )
            mend = "one made by relay token generate --tenant is for tokens of that tenant only"
            yield seen.finding("tenant_of_any_key", "warning", "auth.claims.tenant", text, mend)


def secrets_where_public_would_do(seen: Inspection) -> Iterator[Finding]:
    """Keys that can sign. The relay only ever checks signatures."""
    for source in seen.evidence.keys:
        for key in source.keys.keys:
            if key.material.signing is None:
                continue
            shared = key.material.shared
            what = "is a shared secret" if shared else "holds the private half"
            text = f"{source.place}: {_called(key.kid)} {what}: who reads it can sign tokens"
            mend = "give the relay the public half (relay token generate --public)"
            if shared:
                mend = "sign with a pair (--algorithm ES256) and give the relay its public half"
            severity: Severity = "note" if shared else "warning"
            yield seen.finding("private_key", severity, source.setting, text, mend)


def endless_tokens(seen: Inspection) -> Iterator[Finding]:
    """Tokens that never expire, or in years."""
    auth = seen.settings.auth
    if not auth.names_keys or auth.max_ttl is not None:
        return
    text = "tokens may live as long as they say, there is no auth.max_ttl"
    if not auth.require_exp:
        text = "tokens may never expire: neither auth.max_ttl nor auth.require_exp is set"
    severity: Severity = "note" if auth.require_exp else "warning"
    mend = "set auth.max_ttl to the longest life of a token, in seconds"
    yield seen.finding("no_max_lifetime", severity, "auth.max_ttl", text, mend)


def lenient_times(seen: Inspection) -> Iterator[Finding]:
    """Clocks that are allowed to differ much."""
    leeway = seen.settings.auth.leeway
    if leeway > LONG_LEEWAY:
        text = f"tokens are good for {leeway:g} s after their end"
        yield seen.finding("long_leeway", "note", "auth.leeway", text, "set the clocks (NTP)")


def keys_out_of_reach(seen: Inspection) -> Iterator[Finding]:
    """Sources that cannot be read or reached, and keys that cannot be used."""
    for source in seen.evidence.keys:
        if source.trouble:
            rule = "unreachable_keys" if source.remote else "unreadable_keys"
            mend = "without its keys their tokens are refused"
            yield seen.finding(rule, "error", source.setting, source.trouble, mend)
        for line in source.keys.skipped:
            yield seen.finding("key_not_used", "warning", source.setting, line)
    if seen.evidence.together:
        name = "auth.keys" if seen.settings.auth.keys else "auth.key"
        yield seen.finding("keys_together", "error", name, seen.evidence.together)


def fetching(seen: Inspection) -> Iterator[Finding]:
    """Keys that somebody on the way could replace."""
    fetch = seen.settings.auth.fetch
    if fetch.allow_http:
        text = "keys may come over plain HTTP, where anybody on the way can replace them"
        yield seen.finding("keys_over_http", "error", "auth.fetch.allow_http", text, "use https://")
    if fetch.allow_private:
        text = "keys may come from private and loopback addresses, over plain HTTP as well"
        mend = "only where the key server stands in your own network"
        yield seen.finding("keys_from_inside", "warning", "auth.fetch.allow_private", text, mend)


def other_credentials(seen: Inspection) -> Iterator[Finding]:
    """API keys and certificate rules that allow more, or longer, than is often meant."""
    for name, key in seen.settings.auth.api_keys.items():
        setting = f"auth.api_keys.{name}"
        if key.expires is None:
            text = f"the API key {name} never expires"
            yield seen.finding("api_key_endless", "note", setting, text, "set its expires")
        elif key.expires <= seen.now:
            text = f"the API key {name} expired {_days(seen.now - key.expires)} ago: it is refused"
            mend = "take it out, or set a later expires"
            yield seen.finding("api_key_expired", "warning", setting, text, mend)
        if key.hash.salt is None:
            text = f"the hash of the API key {name} has MooseStack's form: fast to guess"
            yield seen.finding("api_key_weak", "note", setting, text, "relay hash-token")
    for name, rule in seen.settings.auth.certificates.items():
        if rule.full_access and not (rule.san or rule.fingerprint or rule.issuer):
            text = "any certificate of server.tls.root may do everything"
            mend = "name a san, a fingerprint or an issuer"
            setting = f"auth.certificates.{name}"
            yield seen.finding("any_certificate", "warning", setting, text, mend)
        if rule.decrypt:
            text = "decrypt has no effect here: HTTP, where it counts, asks for no certificate"
            mend = "give it to a token or an API key"
            setting = f"auth.certificates.{name}"
            yield seen.finding("certificate_decrypt", "warning", setting, text, mend)


def kinds_that_nobody_has(seen: Inspection) -> Iterator[Finding]:
    """Roles and surfaces that only take kinds of credentials of which there can be none."""
    auth = seen.settings.auth
    if auth.url is not None:
        return
    sources: dict[str, object] = {
        "jwt": auth.names_keys or seen.settings.issuer.enabled,
        "api_key": auth.api_keys,
        "token": seen.settings.records.url,
        "certificate": auth.certificates and seen.settings.server.tls.root,
    }
    for section, verb, public in (
        ("ingest", "may publish", auth.public.publish),
        ("consumption", "may subscribe", auth.public.subscribe),
        ("session", "may open a session", auth.public),
        ("http", "is let in over HTTP", auth.public),
    ):
        accepts: Accepts = getattr(auth, section)
        taken = [kind for kind in KINDS if accepts.takes(kind)]
        is_open = (public and accepts.takes("public")) or any(sources[kind] for kind in taken)
        if is_open or len(taken) == len(KINDS):
            continue
        setting = f"auth.{section}.{'enforce_jwt' if accepts.enforce_jwt else 'accept'}"
        text = f"nobody {verb}: only {', '.join(taken)} will do there, and there can be none"
        mend = "set auth.key for tokens" if taken == ["jwt"] else "make one, or accept others"
        severity: Severity = "warning"
        if not taken:
            # A direction, or HTTP, may well be closed; a relay without sessions is seldom meant.
            severity = "warning" if section == "session" else "note"
            text = f"nobody {verb}: no credential is taken there, and nothing is public"
            mend = "name what is taken, or leave it out: then each kind is"
        yield seen.finding("nobody_accepted", severity, setting, text, mend)


def no_root_key(seen: Inspection) -> Iterator[Finding]:
    """Secrets of the store, where the key that they are sealed under is not in this environment. It
    may be in the relay's own."""
    sealing = ["issuer.enabled"] if seen.settings.issuer.enabled else []
    tracks = seen.settings.ingest.tracks
    sealing += [f"ingest.tracks.{name}" for name, rules in tracks.items() if rules.encrypt]
    if sealing and not seen.evidence.root_key:
        text = f"{VARIABLE} is not set here, and without it the relay does not start"
        mend = "set it where the relay runs (openssl rand -base64 32 makes one)"
        yield seen.finding("no_root_key", "warning", sealing[0], text, mend)


def exposed_secrets(seen: Inspection) -> Iterator[Finding]:
    """Secret files that others can read."""
    for setting, path in seen.evidence.exposed:
        text = f"{path} can be read by others than its owner"
        yield seen.finding("readable_secret", "warning", setting, text, f"chmod 600 {path}")


def unusable(seen: Inspection) -> Iterator[Finding]:
    """What the relay will not start with."""
    for setting, why in seen.evidence.unusable:
        yield seen.finding("unusable", "error", setting, why, "the relay does not start with it")


def certificates(seen: Inspection) -> Iterator[Finding]:
    """Certificates that ended, end soon, or cannot be pinned."""
    for each in seen.evidence.certificates:
        if each.trouble:
            yield seen.finding("certificate", "error", each.setting, each.trouble)
        else:
            yield from _validity(seen, each)
    tls = seen.settings.server.tls
    if not tls.cert and not _is_loopback(seen.settings.server.listen):
        text = "a certificate made at each start, on an address that others can reach"
        mend = "name one in server.tls.cert and server.tls.key"
        yield seen.finding("generated_certificate", "warning", "server.tls.generate", text, mend)


def _validity(seen: Inspection, each: ReadCertificate) -> Iterator[Finding]:
    left, life = each.not_after - seen.now, each.not_after - each.not_before
    soon = SHORT_LIVED if life <= MAX_PINNED else SOON
    renew = "renew it; the relay takes the new file without a restart"
    if left <= 0:
        text = f"{each.place} expired {_days(-left)} ago"
        yield seen.finding("certificate_expired", "error", each.setting, text, renew)
    elif left < soon:
        text = f"{each.place} expires in {_days(left)}"
        yield seen.finding("certificate_expires", "warning", each.setting, text, renew)
    if each.not_before > seen.now:
        text = f"{each.place} is valid only in {_days(each.not_before - seen.now)}"
        yield seen.finding("certificate_early", "error", each.setting, text, "check the clock")
    if each.self_signed and (life > MAX_PINNED or not each.pinnable_key):
        long = f"it lives {_days(life)} (at most {MAX_PINNED_DAYS})"
        why = long if life > MAX_PINNED else "it is no ECDSA key"
        text = f"{each.place} is self-signed and browsers will not pin it: {why}"
        mend = "make a shorter one with an ECDSA P-256 key, or have an authority sign it"
        yield seen.finding("certificate_not_pinnable", "warning", each.setting, text, mend)


def certificates_for_nobody(seen: Inspection) -> Iterator[Finding]:
    """Certificates beside others that no client will ask for; of addresses none does."""
    for setting in dict.fromkeys(each.setting for each in seen.evidence.certificates):
        beside = [each for each in seen.evidence.certificates if each.setting == setting]
        offered = [each.names for each in beside]
        for place, each in enumerate(beside):
            hosts = (name for name in each.names if isinstance(name, str))
            if place == 0 or each.trouble or any(pick(offered, host) == place for host in hosts):
                continue
            text = f"{each.place} is shown to nobody: it names no host that those before it do not"
            mend = "give it DNS names of its own (subjectAltName), or put it first"
            yield seen.finding("certificate_not_shown", "warning", setting, text, mend)


def plain_http(seen: Inspection) -> Iterator[Finding]:
    """Tokens that would travel readably."""
    web = seen.settings.web
    listen = web.http.listen
    if listen is None and web.https.listen is None:
        listen = seen.settings.server.listen
    if listen is None or _is_loopback(listen):
        return
    text = f"plain HTTP on {listen}: a token in a request there can be read on the way"
    mend = "set web.https.listen with a certificate, and web.http.listen to a loopback address"
    yield seen.finding("plain_http", "warning", "web.http.listen", text, mend)


def plain_tcp(seen: Inspection) -> Iterator[Finding]:
    """Sessions that would travel readably, token and all."""
    listen = seen.settings.server.tcp.listen
    if listen is not None and not _is_loopback(listen):
        text = f"sessions in plain TCP on {listen}: tokens and media can be read on the way"
        mend = "listen on a loopback address, or see to it that nobody else is on that network"
        yield seen.finding("plain_tcp", "warning", "server.tcp.listen", text, mend)


def zero_limits(seen: Inspection) -> Iterator[Finding]:
    """Ceilings of nothing."""
    for name in SETTINGS:
        if name.startswith("quotas."):
            continue  # the one section where nothing said means no limit
        last = name.rpartition(".")[2]
        if not (last.startswith("max_") or last.endswith("_bytes")) or last in _MAY_BE_ZERO:
            continue
        value = attrgetter(name)(seen.settings)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
            text = f"{name} is 0, which lets nothing through; it does not mean without limit"
            yield seen.finding("zero_limit", "warning", name, text, "leave it out for the default")


_MAY_BE_ZERO = {"max_stale"}


def unverified_links(seen: Inspection) -> Iterator[Finding]:
    """Links to other relays that believe anybody."""
    if seen.settings.client.tls.disable_verify:
        text = "links to other relays believe any certificate: anybody can play the other relay"
        mend = "name its authority in client.tls.root, or its hash in client.tls.fingerprint"
        yield seen.finding("disable_verify", "error", "client.tls.disable_verify", text, mend)


def plain_links(seen: Inspection) -> Iterator[Finding]:
    """Links to other relays over which tokens would travel readably."""
    cluster = seen.settings.cluster
    for url in cluster.connect:
        target = urlsplit(url.partition("?")[0])
        if target.scheme in ("tcp", "ws") and not is_loopback(target.hostname or ""):
            way = f"{target.scheme}://{target.netloc}"
            text = f"a link over {way}: tokens can be read on the way"
            mend = "dial https:// or wss://, or see to it that nobody else is on that network"
            yield seen.finding("plain_link", "warning", "cluster.connect", text, mend)


def tokens_of_links(seen: Inspection) -> Iterator[Finding]:
    """A token for links that no relay takes, or takes for a guest's."""
    token, name = seen.evidence.link_token, "cluster.token"
    if not token:
        return
    until = member(token, 1, "exp")
    mend = "relay token sign … --cluster, as the README shows, makes one"
    if isinstance(until, int | float) and until <= seen.now:
        text = "the token for links has expired: other relays refuse it"
        yield seen.finding("link_token_expired", "error", name, text, mend)
    elif token.count(".") == 2 and member(token, 1, "cluster") is not True:
        text = "the token for links has no claim cluster: relays of this kind take it for a guest's"
        yield seen.finding("link_token_of_guest", "warning", name, text, mend)


def links_to_itself(seen: Inspection) -> Iterator[Finding]:
    """A relay that is told to dial itself, and does not: of a list for all relays that is meant."""
    cluster = seen.settings.cluster
    own = None if cluster.node is None else parse(cluster.node).key
    if own in [parse(url).key for url in cluster.connect]:
        severity: Severity = "note" if len(cluster.connect) > 1 else "warning"
        text = f"{own} is this relay itself (cluster.node): it is not dialled"
        mend = "name other relays"
        yield seen.finding("link_to_itself", severity, "cluster.connect", text, mend)


def links_to_a_place(seen: Inspection) -> Iterator[Finding]:
    """Links that lead below the top of another relay, over which neither hears of revocations. A
    store on a server is taken to be that of both."""
    store = seen.settings.records.url
    if store is not None and read_address(store).file is None:
        return
    for url in seen.settings.cluster.connect:
        if is_place(parse(url).url):
            text = f"{parse(url).key} is a place of that relay: no word of who is revoked comes by"
            mend = "dial it without a path, or give both relays one store (records.url)"
            yield seen.finding("link_to_a_place", "warning", "cluster.connect", text, mend)


def own_name_as_place(seen: Inspection) -> Iterator[Finding]:
    """A relay whose own name is a place: others that dial it come in there, and hear nothing."""
    if (node := seen.settings.cluster.node) is None:
        return
    own = parse(node).key
    place = dialled(own, domains=seen.settings.auth.domains).dialled
    if place != dialled(own).dialled:
        text = f"other relays that dial {own} (cluster.node) come in at {place}, not at the top"
        mend = "list its host in auth.domains as well"
        yield seen.finding("own_name_as_place", "warning", "auth.domains", text, mend)


def public_sidecar(seen: Inspection) -> Iterator[Finding]:
    """A sidecar that would answer anybody, and therefore does not start."""
    sidecar = seen.settings.sidecar
    if not (sidecar.listen_public or _is_loopback(sidecar.listen)):
        text = f"{sidecar.listen} can be reached by others: relay sidecar does not start with it"
        mend = "listen on a loopback address, or set sidecar.listen_public if that is meant"
        yield seen.finding("public_sidecar", "warning", "sidecar.listen", text, mend)


LINTS: tuple[Lint, ...] = (
    open_to_the_world,
    public_covers_private,
    keys_without_scope,
    tenants_of_any_key,
    secrets_where_public_would_do,
    endless_tokens,
    lenient_times,
    keys_out_of_reach,
    fetching,
    other_credentials,
    kinds_that_nobody_has,
    no_root_key,
    exposed_secrets,
    unusable,
    certificates,
    certificates_for_nobody,
    plain_http,
    plain_tcp,
    zero_limits,
    unverified_links,
    plain_links,
    tokens_of_links,
    links_to_itself,
    links_to_a_place,
    own_name_as_place,
    public_sidecar,
)
"""Every lint there is."""


def _called(kid: str | None) -> str:
    return "the key" if kid is None else f"the key {kid}"


def _days(seconds: float) -> str:
    if seconds < 2 * 86_400:
        return f"{int(seconds // 3600)} hours"
    return f"{int(seconds // 86_400)} days"


def _is_loopback(address: Address) -> bool:
    """Whether only this machine can reach the address; of names only localhost."""
    return is_loopback(address.host.partition("%")[0])
