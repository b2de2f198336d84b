"""Lints, one situation each: found when it is so, silent when it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path as File
from typing import Any

import pytest

from relay.auth.compact import to_base64url
from relay.auth.credentials import make_key, make_moose_key
from relay.auth.keys import Key, KeySet, generate
from relay.auth.scope import Scope
from relay.config import load
from relay.config.findings import (
    Evidence,
    Finding,
    Inspection,
    ReadCertificate,
    ReadKeys,
    from_line,
    place,
)
from relay.config.lint import LINTS, lint
from relay.path import Path

NOW = 1_800_000_000.0
DAY = 86_400.0
FREE = generate("ES256", "v1").public()
SCOPED = generate("ES256", "team", Scope(Path("demo"), (Path("live"),), (Path("live"),))).public()
SAFE = {
    "server.listen": "127.0.0.1:4443",
    "auth.public.subscribe": ["anon"],
    "auth.max_ttl": 3600,
}

Inspect = Callable[..., list[Finding]]


@pytest.fixture
def inspect(tmp_path: File) -> Inspect:
    key = tmp_path / "k.jwk"
    key.write_bytes(generate("HS256", "k").dump())

    def inspect(evidence: Evidence = Evidence(), **flags: Any) -> list[Finding]:  # noqa: B008
        given = SAFE | {name.replace("__", "."): value for name, value in flags.items()}
        given = {name: str(key) if value == "KEY" else value for name, value in given.items()}
        loaded = load(None, {name: v for name, v in given.items() if v is not None}, {})
        return lint(Inspection(loaded.settings, loaded.entries, evidence, NOW))

    return inspect


def found(findings: list[Finding], rule: str) -> Finding:
    (finding,) = [each for each in findings if each.rule == rule]
    assert finding.text
    return finding


def read(*keys: Key, **more: Any) -> Evidence:
    return Evidence(keys=(ReadKeys("auth.keys", "k.jwk", KeySet(keys), **more),))


def test_a_careful_configuration_has_no_findings(inspect: Inspect) -> None:
    assert inspect(read(SCOPED), auth__key="KEY") == []


def test_open_to_the_world(inspect: Inspect) -> None:
    everything = {"auth__public__subscribe": [""], "auth__public__publish": [""]}
    findings = inspect(**everything)
    assert found(findings, "open_publish").severity == "error"
    assert found(findings, "open_subscribe").severity == "warning"
    assert findings[0].rule == "open_publish"
    prefix = found(inspect(auth__public__publish=["anon"]), "public_publish")
    assert prefix.severity == "note"
    assert prefix.setting == "auth.public.publish"


@pytest.mark.parametrize("closed", [["ingest"], ["session", "http"]])
def test_what_is_public_where_only_a_jwt_will_do_is_open_to_nobody(
    inspect: Inspect, closed: list[str]
) -> None:
    public = {"auth__key": "KEY", "auth__public__publish": ["", "demo"]}
    settings = public | {f"auth__{section}__enforce_jwt": True for section in closed}
    assert not {each.rule for each in inspect(read(SCOPED), **settings)} & {
        *("open_publish", "public_publish", "public_covers_private")
    }
    assert found(inspect(**public, auth__http__enforce_jwt=True), "open_publish")


def test_public_covers_private(inspect: Inspect) -> None:
    finding = found(
        inspect(read(SCOPED), auth__public__subscribe=["demo"]), "public_covers_private"
    )
    assert "/demo/live is open to subscribe" in finding.text
    assert "team" in finding.text
    for apart in (["demolition"], ["demo/live/one"]):
        assert inspect(read(SCOPED), auth__public__subscribe=apart) == []
    key = {
        "hash": str(make_key(100_000).hash),
        "root": "anon",
        "subscribe": [""],
        "expires": NOW + DAY,
    }
    finding = found(inspect(auth__api_keys={"cam": key}), "public_covers_private")
    assert "the API key cam" in finding.text


def test_keys_without_scope(inspect: Inspect) -> None:
    assert found(inspect(read(FREE)), "key_without_scope").severity == "note"
    assert found(inspect(read(FREE, SCOPED)), "key_without_scope").severity == "warning"
    foreign = found(inspect(read(FREE, remote=True)), "key_without_scope")
    assert "issuer and audience" in foreign.mend


def test_keys_that_name_any_tenant(inspect: Inspect) -> None:
    finding = found(inspect(read(SCOPED), auth__claims__tenant="moq.org"), "tenant_of_any_key")
    assert (finding.severity, finding.setting) == ("warning", "auth.claims.tenant")
    assert "the key team has a scope" in finding.text
    everything = Scope(Path(""), (Path(""),), (Path(""),))
    for evidence, claim in (
        (read(SCOPED), None),
        (read(FREE), "moq.org"),
        (read(replace(SCOPED, scope=everything)), "moq.org"),
        (read(replace(SCOPED, scope=replace(everything, tenant="acme"))), "moq.org"),
    ):
        rules = {each.rule for each in inspect(evidence, auth__claims__tenant=claim)}
        assert "tenant_of_any_key" not in rules


def test_private_keys(inspect: Inspect) -> None:
    scope = SCOPED.scope
    signing = replace(generate("ES256", "p"), scope=scope)
    shared = replace(generate("HS256", "s"), scope=scope)
    assert found(inspect(read(signing)), "private_key").severity == "warning"
    finding = found(inspect(read(shared)), "private_key")
    assert finding.severity == "note"
    assert "shared secret" in finding.text
    assert shared.to_jwk()["k"] not in str(finding)


def test_endless_tokens(inspect: Inspect) -> None:
    bare = {"auth__key": "KEY", "auth__max_ttl": None}
    assert found(inspect(**bare), "no_max_lifetime").severity == "warning"
    assert found(inspect(**bare, auth__require_exp=True), "no_max_lifetime").severity == "note"
    assert inspect(auth__max_ttl=None) == []


def test_times_and_fetching(inspect: Inspect) -> None:
    assert found(inspect(auth__leeway=600), "long_leeway")
    assert inspect(auth__leeway=300) == []
    assert found(inspect(auth__fetch__allow_http=True), "keys_over_http").severity == "error"
    assert found(inspect(auth__fetch__allow_private=True), "keys_from_inside")


def test_sources_that_fail(inspect: Inspect) -> None:
    gone = found(inspect(read(trouble="u: no answer", remote=True)), "unreachable_keys")
    assert (gone.severity, gone.text) == ("error", "u: no answer")
    assert found(inspect(read(trouble="k: broken")), "unreadable_keys")
    skipped = Evidence(keys=(ReadKeys("auth.keys", "k", KeySet(skipped=("key 2 is not used",))),))
    assert found(inspect(skipped), "key_not_used").severity == "warning"
    twice = found(inspect(Evidence(together="two keys have the kid v1")), "keys_together")
    assert twice.severity == "error"


def test_other_credentials(inspect: Inspect) -> None:
    moose = {"hash": str(make_moose_key().hash), "subscribe": ["x"]}
    findings = inspect(auth__api_keys={"old": moose})
    assert found(findings, "api_key_endless").setting == "auth.api_keys.old"
    assert found(findings, "api_key_weak")
    late = {"hash": str(make_key(100_000).hash), "subscribe": ["x"], "expires": NOW - 3 * DAY}
    (expired,) = inspect(auth__api_keys={"late": late})
    assert (expired.rule, expired.severity) == ("api_key_expired", "warning")
    assert expired.text == "the API key late expired 3 days ago: it is refused"
    assert inspect(auth__api_keys={"late": late | {"expires": NOW + 1}}) == []
    anybody = inspect(auth__certificates={"ops": {"full_access": True}})
    assert found(anybody, "any_certificate")
    named = {"ops": {"full_access": True, "san": "ops.example"}}
    assert inspect(auth__certificates=named) == []
    reader = {"ops": {"full_access": True, "san": "ops.example", "decrypt": ["pii"]}}
    assert found(inspect(auth__certificates=reader), "certificate_decrypt")


def test_kinds_that_nobody_has(inspect: Inspect) -> None:
    plant = {"plant": {"hash": str(make_key().hash), "publish": [""], "expires": NOW + DAY}}
    keyless = inspect(auth__api_keys=plant, auth__ingest__enforce_jwt=True)
    assert found(keyless, "nobody_accepted").setting == "auth.ingest.enforce_jwt"
    assert inspect(auth__key="KEY", auth__api_keys=plant, auth__ingest__enforce_jwt=True) == []
    assert inspect(auth__api_keys=plant, auth__ingest__accept=["api_key"]) == []
    assert inspect(auth__http__accept=["token"], auth__key="KEY") == []  # what is public
    surface = inspect(auth__http__accept=["token"], auth__key="KEY", auth__public__subscribe=None)
    assert found(surface, "nobody_accepted").setting == "auth.http.accept"
    assert inspect(auth__session__accept=[]) == []  # what is public
    closed = inspect(auth__consumption__enforce_jwt=True)
    told = found(closed, "nobody_accepted").text
    assert told == "nobody may subscribe: only jwt will do there, and there can be none"


def test_kinds_of_which_none_is_taken(inspect: Inspect) -> None:
    keyed = {"auth__key": "KEY", "auth__public__subscribe": None}
    none = found(inspect(**keyed, auth__session__accept=[]), "nobody_accepted")
    assert (none.setting, none.severity) == ("auth.session.accept", "warning")
    assert none.text.startswith("nobody may open a session: no credential is taken there")
    for section in ("ingest", "consumption", "http"):  # closed, which may be meant
        (closed,) = inspect(**keyed, **{f"auth__{section}__accept": []})
        assert (closed.rule, closed.severity) == ("nobody_accepted", "note")


def test_what_is_sealed_needs_its_key(inspect: Inspect, tmp_path: File) -> None:
    bare = Evidence(root_key=False)
    assert inspect(bare) == []
    store = {"records__url": f"sqlite:///{tmp_path}/relay.db"}
    issuing = {**store, "issuer__enabled": True}
    missing = found(inspect(bare, **issuing), "no_root_key")
    assert (missing.setting, missing.severity) == ("issuer.enabled", "warning")
    assert "MOQ_MASTER_KEY is not set here" in missing.text
    tracks = {"ingest__tracks": {"a/t": {}, "b/t": {"encrypt": {"/mail": "pii"}}}}
    assert found(inspect(bare, **store, **tracks), "no_root_key").setting == "ingest.tracks.b/t"
    assert inspect(**issuing) == []


def test_exposed_secrets(inspect: Inspect) -> None:
    evidence = Evidence(exposed=(("cluster.token", File("t.jwt")),))
    assert found(inspect(evidence), "readable_secret").mend == "chmod 600 t.jwt"


@pytest.mark.parametrize(
    ("payload", "rules"),
    [
        ('{"root": "", "put": [""]}', ["link_token_of_guest"]),
        ('{"cluster": true, "exp": 1700000000}', ["link_token_expired"]),
        ('{"cluster": true, "exp": 1900000000}', []),
    ],
)
def test_tokens_of_links(inspect: Inspect, payload: str, rules: list[str]) -> None:
    token = f"{to_base64url(b'{}')}.{to_base64url(payload.encode())}.x"
    assert [each.rule for each in inspect(Evidence(link_token=token))] == rules
    assert inspect(Evidence(link_token="mq_an_api_token")) == []


def certificate(starts: float, ends: float, **more: Any) -> Evidence:
    read = ReadCertificate("server.tls.cert", File("c.pem"), NOW + starts, NOW + ends, **more)
    return Evidence(certificates=(read,))


@pytest.mark.parametrize(
    ("starts", "ends", "self_signed", "rules"),
    [
        (-DAY, 89 * DAY, False, []),
        (-80 * DAY, 10 * DAY, False, []),
        (-84 * DAY, 6 * DAY, False, ["certificate_expires"]),
        (-90 * DAY, -1, False, ["certificate_expired"]),
        (DAY, 90 * DAY, False, ["certificate_early"]),
        (-DAY, 12 * DAY, True, []),
        (-10 * DAY, 3 * DAY, True, []),
        (-12 * DAY, DAY, True, ["certificate_expires"]),
        (-DAY, 89 * DAY, True, ["certificate_not_pinnable"]),
    ],
)
def test_certificates(
    starts: float, ends: float, self_signed: bool, rules: list[str], inspect: Inspect
) -> None:
    evidence = certificate(starts, ends, self_signed=self_signed)
    assert [finding.rule for finding in inspect(evidence)] == rules


def test_certificates_that_are_none(inspect: Inspect) -> None:
    rsa = certificate(-DAY, 9 * DAY, self_signed=True, pinnable_key=False)
    assert "ECDSA" in found(inspect(rsa), "certificate_not_pinnable").text
    broken = certificate(0, 0, trouble="c.pem holds no PEM certificate")
    assert found(inspect(broken), "certificate").severity == "error"


@pytest.mark.parametrize(
    ("first", "second", "is_shown"),
    [
        ({"a.example"}, {"b.example"}, True),
        ({"a.example"}, {"a.example", "b.example"}, True),
        ({"a.example"}, {"*.example"}, True),
        ({"a.example"}, set(), False),
        ({"a.example"}, {ip_address("192.0.2.7")}, False),
        ({"*.example"}, {"a.example"}, False),
        ({"*.example"}, {"*.example"}, False),
    ],
)
def test_certificates_that_nobody_asks_for(
    first: Any, second: Any, is_shown: bool, inspect: Inspect
) -> None:
    pairs = [
        certificate(-DAY, 9 * DAY, names=frozenset(names)).certificates[0]
        for names in (first, second)
    ]
    findings = inspect(Evidence(certificates=tuple(pairs)))
    assert [each.rule for each in findings] == ([] if is_shown else ["certificate_not_shown"])
    elsewhere = replace(pairs[1], setting="web.https.cert")
    assert inspect(Evidence(certificates=(pairs[0], elsewhere))) == []


@pytest.mark.parametrize("listen", ["[::]:4443", "0.0.0.0:4443", "192.0.2.1:4443", "relay.test:1"])
def test_public_addresses(listen: str, inspect: Inspect) -> None:
    findings = inspect(server__listen=listen)
    assert {finding.rule for finding in findings} == {"generated_certificate", "plain_http"}


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "[::1]:1", "localhost:1", "127.9.9.9:1"])
def test_addresses_of_this_machine(listen: str, inspect: Inspect) -> None:
    assert inspect(server__listen=listen) == []


def test_plain_http_of_its_own(inspect: Inspect) -> None:
    finding = found(inspect(web__http__listen="0.0.0.0:80"), "plain_http")
    assert "0.0.0.0:80" in finding.text


def test_plain_tcp_that_others_reach(inspect: Inspect) -> None:
    assert "[::]:4444" in found(inspect(server__tcp__listen="[::]:4444"), "plain_tcp").text
    assert inspect(server__tcp__listen="127.0.0.1:4444") == []


def test_zero_limits(inspect: Inspect) -> None:
    finding = found(inspect(peer__max_backlog=0), "zero_limit")
    assert finding.setting == "peer.max_backlog"
    assert inspect(auth__fetch__max_stale=0) == []
    assert inspect(cache__linger=0) == []


def test_links_that_believe_anybody(inspect: Inspect) -> None:
    finding = found(inspect(client__tls__disable_verify=True), "disable_verify")
    assert finding.severity == "error"


def test_links_that_others_can_read(inspect: Inspect) -> None:
    for url in ("tcp://192.0.2.1:1/?jwt=x", "ws://relay.test"):
        finding = found(inspect(cluster__connect=url), "plain_link")
        assert "jwt" not in finding.text
    for url in ("https://192.0.2.1", "wss://relay.test", "tcp://127.0.0.1:1", "ws://localhost"):
        assert inspect(cluster__connect=url) == []


def test_links_to_itself(inspect: Inspect) -> None:
    own = {"cluster__node": "https://a.test:443/", "cluster__connect": ["a.test/?cost=3"]}
    alone = found(inspect(**own), "link_to_itself")
    assert (alone.setting, alone.severity) == ("cluster.connect", "warning")
    assert alone.text == "https://a.test/ is this relay itself (cluster.node): it is not dialled"
    own["cluster__connect"] = ["a.test", "b.test"]
    assert found(inspect(**own), "link_to_itself").severity == "note"
    assert inspect(**own | {"cluster__connect": ["b.test"]}) == []
    assert inspect(cluster__connect=["a.test"]) == []


def test_links_to_a_place(inspect: Inspect) -> None:
    finding = found(inspect(cluster__connect=["https://a.test/eu?jwt=t"]), "link_to_a_place")
    assert (finding.setting, finding.severity) == ("cluster.connect", "warning")
    assert finding.text.startswith("https://a.test/eu is a place of that relay")
    place = {"cluster__connect": ["https://a.test/eu"]}
    found(inspect(**place, records__url="sqlite:////var/relay.db"), "link_to_a_place")
    assert inspect(**place, records__url="postgresql://db.test/relay") == []


def test_a_relay_whose_own_name_is_a_place(inspect: Inspect) -> None:
    own = {"cluster__node": "EU.cdn.test:443", "auth__domains": ["cdn.test"]}
    finding = found(inspect(**own), "own_name_as_place")
    assert (finding.setting, finding.severity) == ("auth.domains", "warning")
    assert finding.text.endswith("(cluster.node) come in at /eu/, not at the top")
    assert inspect(**own | {"auth__domains": ["cdn.test", "eu.cdn.test"]}) == []
    assert inspect(**own | {"cluster__node": "moqt://eu.cdn.test"}) == []
    assert inspect(cluster__node="eu.cdn.test") == []


def test_a_sidecar_that_others_reach(inspect: Inspect) -> None:
    finding = found(inspect(sidecar__listen="0.0.0.0:4440"), "public_sidecar")
    assert finding.text.startswith("0.0.0.0:4440 can be reached by others")
    assert inspect(sidecar__listen="0.0.0.0:4440", sidecar__listen_public=True) == []
    assert inspect(sidecar__listen="[::1]:4440") == []


def test_findings_point_at_their_line(tmp_path: File) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('[auth]\n\n[auth.public]\npublish = ""\n[server]\nlisten = "[::]:1"\n')
    loaded = load(file, {}, {})
    findings = lint(Inspection(loaded.settings, loaded.entries, Evidence(), NOW))
    finding = found(findings, "open_publish")
    assert (finding.file, finding.line) == (str(file), 4)
    http = found(findings, "plain_http")
    assert (http.file, http.line) == ("", None)


def test_complaints_become_findings() -> None:
    seen = from_line("refused", "error", "/x/relay.toml:3: server.bind: expected text: yes")
    assert (seen.file, seen.line, seen.setting) == ("/x/relay.toml", 3, "server.bind")
    assert seen.text == "expected text: yes"
    assert from_line("r", "error", "auth: no key").setting == "auth"
    assert from_line("r", "error", "MOQ_AUTH__KEY: expected text").setting == "MOQ_AUTH__KEY"
    assert from_line("r", "error", "relay.toml: not a TOML file: x").text.endswith("TOML file: x")
    assert place("relay.toml:3: server.bind") == ("relay.toml", 3)
    assert place("MOQ_X") == ("", None)


def test_every_lint_says_what_it_is_for() -> None:
    assert all(each.__doc__ for each in LINTS)
    assert len(set(LINTS)) == len(LINTS)
