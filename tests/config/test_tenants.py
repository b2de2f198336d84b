"""Settings of tenants, of the issuer and of the audit log, as an operator writes them."""

from __future__ import annotations

import pytest

from relay.errors import ConfigError
from relay.quota import Limits

OPEN = '[server.tls]\ngenerate = ["localhost"]\n[auth]\npublic = ""\n'


def test_quotas_for_all_and_for_one(folder):
    text = OPEN + "[quotas]\nsessions = 5\n[quotas.tenants.plant]\negress_bits = 8_000\n"
    quotas = folder.load(text, {"MOQ_QUOTAS__TRACKS": "9"}).settings.quotas
    plant = Limits(quotas).of("plant")
    assert (plant.sessions, plant.egress_bits, plant.tracks) == (5, 8000, 9)
    assert Limits(quotas).of("other").egress_bits == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[quotas]\nsessions = -1\n", r"relay\.toml:6: quotas\.sessions"),
        ("[quotas]\nsesions = 1\n", r"did you mean quotas\.sessions"),
        ("[quotas.tenants.a]\nsesions = 1\n", r"quotas\.tenants"),
        (
            '[quotas.tenants."a/b"]\nsessions = 1\n',
            r"relay\.toml:5: quotas\.tenants\.a/b: expected tenants' names: no slashes",
        ),
        (f"[quotas.tenants.{'a' * 513}]\nsessions = 1\n", "no slashes, at most 512 characters$"),
        ("[issuer]\nenabled = true\n", r"issuer\.enabled: needs records\.url"),
        (
            '[ingest.tracks."plant/*/t"]\nencrypt = { "/mail" = "pii" }\n',
            r"relay\.toml:5: ingest\.tracks\.plant/\*/t\.encrypt: needs records\.url, where",
        ),
        ('[issuer]\nalgorithm = "HS256"\n', r"issuer\.algorithm"),
        ('[audit]\nwebhook = "https://log.example.com/"\n', "needs one of audit.webhook_secret"),
        ('[audit]\nwebhook = "http://log.example.com/"\n', "expected https://"),
        ('[audit]\nwebhook = "ftp://x/"\n', "https://"),
        (
            '[audit]\nwebhook_secret = "short"\n',
            r"webhook_secret: expected at least 16 characters$",
        ),
    ],
)
def test_what_cannot_be_obeyed_is_said(folder, text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        folder.load(OPEN + text)
    assert "short" not in str(caught.value)


def test_an_issuer_takes_its_own_tokens_or_does_not_start(folder):
    store = '[records]\nurl = "sqlite:///relay.db"\n[issuer]\nenabled = true\n'
    assert folder.load(OPEN + store).settings.issuer.enabled
    with pytest.raises(ConfigError, match=r"auth\.require_typ"):
        folder.load(OPEN + 'require_typ = "at+jwt"\n' + store)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ('put = "scope"\nget = "scope"\n', ["6: auth.claims.put", "7: auth.claims.get"]),
        ('get = "put"\n', ["6: auth.claims.get"]),
        ('root = "sub"\n', ["6: auth.claims.root"]),
        ('root = "moq.root"\nput = "iss"\n', ["7: auth.claims.put"]),
    ],
)
def test_what_it_signs_has_a_claim_for_each_right(folder, names, said):
    text = OPEN + "[auth.claims]\n" + names
    assert folder.load(text).settings.auth.claims.shared()  # others may sign such tokens
    store = '[records]\nurl = "sqlite:///relay.db"\n[issuer]\nenabled = true\n'
    tail = ": the tokens of issuer.enabled need a claim that means nothing else"
    assert folder.complaints(text + store) == [f"relay.toml:{line}{tail}" for line in said]


@pytest.mark.parametrize("name", ["exp", "cluster", "decrypt", "parent_kid"])
def test_no_right_goes_by_a_claim_of_the_relays_own(folder, name):
    for right in ("root", "put", "get", "tenant"):
        with pytest.raises(ConfigError, match=f"a claim for {right} that means nothing else"):
            folder.load(OPEN + f'[auth.claims]\n{right} = "{name}"\n')


def test_a_webhook_with_its_secret_from_the_environment_or_a_file(folder):
    text = OPEN + '[audit]\nwebhook = "https://log.example.com/"\n'
    secret = {"MOQ_AUDIT__WEBHOOK_SECRET": "0123456789abcdef"}
    loaded = folder.load(text, secret).settings
    assert loaded.audit.webhook_secret == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(loaded)
    (folder.path / "s").write_text("0123456789abcdef")
    named = folder.load(text + 'webhook_secret_file = "s"\n').settings
    assert named.audit.webhook_secret_file == folder.path / "s"
