"""Precedence, upstream's files, and what an operator reads when something is wrong."""

from __future__ import annotations

import errno
import os
from typing import get_args

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.auth.credentials import derivation, derive, make_key
from relay.auth.keys import generate
from relay.config import Address, load
from relay.config.names import SETTINGS, TYPES
from relay.errors import ConfigError
from relay.records.address import read_address

SIZE = 'expected a whole number, or a size such as "256MiB"'
OPEN = '[server.tls]\ngenerate = ["localhost"]\n[auth]\npublic = ""\n'


def test_flags_come_before_the_environment_and_the_environment_before_the_file(folder):
    text = '[server]\nlisten = "127.0.0.1:1"\n' + OPEN
    environ = {"MOQ_SERVER__LISTEN": "127.0.0.1:2"}
    assert folder.load(text).settings.server.listen.port == 1
    assert folder.load(text, environ).settings.server.listen.port == 2
    assert folder.load(text, environ, server__listen="127.0.0.1:3").settings.server.listen.port == 3


def test_a_flag_that_is_not_given_hides_nothing(folder):
    loaded = folder.load(OPEN, None, server__listen=None, auth__public=())
    assert loaded.settings.auth.public.publish == ("",)


def test_everything_has_a_default_but_who_may_come_in():
    loaded = load(None, {"auth.public": "anon"}, {})
    assert loaded.settings.server.listen == Address("::", 4443)
    assert loaded.settings.web.http.listen is None
    assert any("no certificate" in warning for warning in loaded.warnings)


def test_settings_stay_as_they_were_read(folder):
    loaded = folder.load(OPEN)
    with pytest.raises(ValueError, match="frozen"):
        loaded.settings.server = None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[::]:4443", ("::", 4443)),
        ("0.0.0.0:4443", ("0.0.0.0", 4443)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_host_and_port(written, expected):
    assert Address.parse(written) == expected
    assert str(Address.parse(written)) == written


@pytest.mark.parametrize(
    "written",
    [
        "4443",
        ":4443",
        "::1:4443",
        "[::1]",
        "[::1]4443",
        "a:b",
        "a:65536",
        "a:-1",
        "[a]:1",
        "a b:1",
        "a:１",
    ],
)
def test_anything_else_is_no_address(written):
    with pytest.raises(ValueError, match="expected address:port"):
        Address.parse(written)


@given(st.text(max_size=30))
def test_an_address_is_refused_or_read_back(text):
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address


def test_the_guides_files_load(folder):
    folder.write("secret.jwk")
    folder.write("secret-v1.jwk")
    folder.write("secret-v2.jwk")
    folder.write("cert.pem", mode=0o644)
    folder.write("key.pem")
    first = folder.load('[auth]\nkey = "secret.jwk"\npublic = "demo"\n').settings.auth
    assert first.key_files == (str(folder.path / "secret.jwk"),)
    assert first.public.publish == first.public.subscribe == ("demo",)
    several = folder.load('[auth]\nkeys = ["secret-v1.jwk", "secret-v2.jwk"]\n').settings.auth
    assert len(several.key_files) == 2
    loaded = folder.load(
        '[server]\nlisten = "[::]:443"\n[server.tls]\ncert = "cert.pem"\nkey = "key.pem"\n'
        '[auth]\nkey = "secret.jwk"\n'
    )
    assert loaded.settings.server.tls.cert == (folder.path / "cert.pem",)
    assert loaded.warnings == ()


def test_upstreams_local_file_loads(folder):
    loaded = folder.load(
        '[log]\nlevel = "debug"\n[server]\nlisten = "[::]:4443"\ntls.generate = ["localhost"]\n'
        '[web.http]\nlisten = "[::]:4443"\n[auth]\npublic = ""\n'
        '[iroh]\nsecret_key_path = "./dev/relay-iroh-secret.key"\n[stats]\nenabled = false\n'
    )
    assert loaded.settings.log.level == "debug"
    assert loaded.settings.server.tls.generate == ("localhost",)
    assert [w.rpartition(":")[2] for w in loaded.warnings] == [" not built here, ignored"]
    assert "iroh" in loaded.warnings[0]


def test_upstreams_root_file_loads(folder):
    for name in ("root.crt", "root.key", "ca.pem", "root.jwk"):
        folder.write(name)
    loaded = folder.load(
        '[server]\nbind = "[::]:4443"\nversion = ["moq-lite-05"]\n'
        'tls.cert = ["root.crt"]\ntls.key = ["root.key"]\ntls.root = ["ca.pem"]\n'
        '[auth]\nkey = "root.jwk"\n'
        '[auth.public]\nsubscribe = ["anon", "demo"]\npublish = ["anon", "demo/viewer"]\n'
        "[cluster]\n"
    )
    assert loaded.settings.auth.public.publish == ("anon", "demo/viewer")
    assert loaded.settings.server.versions == ("moq-lite-05",)
    (warning,) = loaded.warnings
    assert "client certificates" in warning
    # The demo of upstream is a cluster, and links by the certificate of a guest are half of one.
    assert "full_access = true, cluster = true" in warning


def test_authorities_alone_let_nobody_in_and_it_is_said_what_does(folder):
    """In moq-relay they let in everybody with a certificate: that has to be said here."""
    folder.write("ca.pem")
    text = '[server]\ntls.generate = ["localhost"]\ntls.root = ["ca.pem"]\n'
    (complaint,) = folder.complaints(text)
    assert complaint.startswith("auth: no key and nothing public")
    assert complaint.endswith("[auth.certificates.any] full_access = true, cluster = true")
    assert len(folder.complaints(text + "[auth]\nkez = 'a'\n")) == 1
    folder.load(text + "[auth.certificates.any]\nfull_access = true\ncluster = true\n")


def test_upstreams_leaf_file_loads(folder):
    for name in ("ca.pem", "root.jwk"):
        folder.write(name)
    loaded = folder.load(
        '[listen]\nbind = "[::]:4444"\ntls.generate = ["localhost"]\n'
        '[connect]\ntls.root = ["ca.pem"]\n'
        '[cluster]\nconnect = "localhost:4443"\ntoken = "root.jwt"\nnode = "localhost:4444"\n'
        'linger = "7s"\n[client]\ntls.disable_verify = true\n'
        '[auth]\nkey = "root.jwk"\npublic = "anon/**"\n'
        '[cache]\ncapacity = "1GiB"\nduration = "30s"\n'
    )
    assert loaded.settings.server.listen.port == 4444
    assert loaded.settings.cluster.connect == ("localhost:4443",)
    assert loaded.settings.client.tls.root == (folder.path / "ca.pem",)
    assert loaded.settings.auth.public.publish == ("anon",)
    assert loaded.settings.cache.cache_bytes == 1 << 30
    assert (loaded.settings.cache.linger, loaded.settings.cache.cache_duration) == (7.0, 30.0)
    assert [warning for warning in loaded.warnings if "client.tls.disable_verify" in warning] == [
        f"{folder.path}/relay.toml:12: client.tls.disable_verify: links believe any certificate; "
        "anybody can play the other relay"
    ]


@pytest.mark.parametrize("public", ["3", "true", "[3]", "{ publish = 3 }"])
def test_what_is_no_prefix(folder, public):
    for line in folder.complaints(f"[auth]\npublic = {public}\n"):
        assert line.startswith("relay.toml:2: auth.public")
        assert line.endswith(": expected a prefix or a list of prefixes")


def test_a_certificate_nobody_is_shown(folder):
    warnings = folder.load(OPEN + '[web.https]\ncert = "c.pem"\nkey = "k.pem"\n').warnings
    assert any(
        each.endswith("relay.toml:6: web.https.cert: not used without web.https.listen")
        for each in warnings
    )


@pytest.mark.parametrize("public", ['"**"', '["**"]', '{ publish = "**", subscribe = [""] }'])
def test_upstreams_word_for_everything(folder, public):
    auth = folder.load(f"[auth]\npublic = {public}\n").settings.auth
    assert (auth.public.publish, auth.public.subscribe) == (("",), ("",))


@pytest.mark.parametrize("pattern", ["live/*", "*", "**/cam", "a*/**"])
def test_other_patterns_are_not_taken_for_names(folder, pattern):
    assert folder.complaints(f'[auth]\npublic = ["{pattern}"]\n') == [
        "relay.toml:2: auth.public: expected a prefix; of patterns only prefix/** is understood"
    ]


@pytest.mark.parametrize("pattern", ["/**", "/anon/**", "//**", "/*"])
@pytest.mark.parametrize("form", ['"{}"', '["a", "{}"]', '{{ publish = "{}" }}'])
def test_a_pattern_does_not_begin_with_a_slash(folder, pattern, form):
    (line,) = folder.complaints(f"[auth]\npublic = {form.format(pattern)}\n")
    assert 'a pattern does not begin with /: write "anon/**"' in line


@pytest.mark.parametrize("prefix", ["anon", "/anon", "anon/", "/anon/", "anon/**"])
def test_a_prefix_may_have_slashes_around_it(folder, prefix):
    auth = folder.load(f'[auth]\npublic = "{prefix}"\n').settings.auth
    assert auth.public.subscribe == ("anon",)


def test_file_names_are_relative_to_the_file_and_else_to_the_working_directory(
    folder, tmp_path, monkeypatch
):
    folder.write("a.jwk")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert folder.load('[auth]\nkey = "a.jwk"\n').settings.auth.key == str(tmp_path / "a.jwk")
    (work / "b.jwk").write_text("x")
    loaded = folder.load('[auth]\nkey = "a.jwk"\n', {"MOQ_AUTH__KEY": "b.jwk"})
    assert loaded.settings.auth.key == "b.jwk"


def test_a_file_is_found_below_a_home_wherever_it_is_named(folder, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "a.jwk").write_text("x")
    (home / "s.json").write_text("{}")
    key = str(home / "a.jwk")
    text = '[auth]\nkey = "~/a.jwk"\n[records]\nurl = "sqlite:///~/r.db"\n'
    loaded = folder.load(text + '[ingest.tracks."a/t"]\nschema = "~/s.json"\n').settings
    assert loaded.auth.key == key
    assert loaded.records.url is not None
    assert read_address(loaded.records.url).file == home / "r.db"
    assert loaded.ingest.tracks["a/t"].schema_file == home / "s.json"
    named = folder.load("", {"MOQ_AUTH__KEY": "~/a.jwk", "MOQ_AUTH__JWKS": "~/a.jwk"}).settings
    assert (named.auth.key, named.auth.jwks[0].file) == (key, key)
    assert folder.load("", auth__key="~/a.jwk").settings.auth.key == key
    public = '[auth]\npublic = "~"\n'
    assert folder.load(public).settings.auth.public.publish == ("~",)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '[server]\nlissten = "x"',
            "relay.toml:2: server.lissten: no such setting; did you mean server.listen?",
        ),
        (
            '\n[serverr]\nlisten = "x"',
            "relay.toml:2: serverr: no such setting; did you mean server?",
        ),
        ('listen = "x"', "relay.toml:1: listen: expected a section, not a value"),
        ("[server.tls]\nfrobnicate = 1", "relay.toml:2: server.tls.frobnicate: no such setting"),
        ("server = 3", "relay.toml:1: server: expected a section, not a value"),
        ("[server]\nlisten = 4443", "relay.toml:2: server.listen: expected address:port"),
        ('[server]\nlisten = "[::]:99999"', "relay.toml:2: server.listen: expected address:port"),
        (
            '[server]\nlisten = "a:1"\nbind = "a:1"',
            "relay.toml:3: server.bind: the same setting is given twice",
        ),
        ('[log]\nlevel = "loud"', "relay.toml:2: log.level: expected 'trace', 'debug'"),
        (
            '[limits]\nmax_sessions = "many"',
            "relay.toml:2: limits.max_sessions: expected a whole number",
        ),
        (
            "[limits]\nmax_sessions = -1",
            "relay.toml:2: limits.max_sessions: expected a finite number, zero or more",
        ),
        (
            "[limits]\nmax_sessions = 1" + "0" * 400,
            "relay.toml:2: limits.max_sessions: expected a finite number, zero or more",
        ),
        (
            "[limits]\nvisit_timeout = nan",
            "relay.toml:2: limits.visit_timeout: expected a finite number",
        ),
        (
            "[limits]\nread_batch = 0",
            "relay.toml:2: limits.read_batch: must be from 1 to",
        ),
        (
            "[quic]\nmax_datagram_size = 100",
            "relay.toml:2: quic.max_datagram_size: must be at least 1200",
        ),
        ('[cache]\ncapacity = "750%"', f"relay.toml:2: cache.capacity: {SIZE}"),
        (
            '[server]\nversions = ["moq-lite-99"]',
            "relay.toml:2: server.versions: expected some of moq-lite-06",
        ),
        (
            '[client.tls]\ndisable_verify = "perhaps"',
            "relay.toml:2: client.tls.disable_verify: expected true or false",
        ),
        (
            '[server.tls]\ncert = "c"\nkey = "k"\ngenerate = ["a"]',
            "relay.toml:4: server.tls.generate: a certificate is given as well",
        ),
        (
            '[web.https]\nlisten = "[::]:443"',
            "relay.toml:2: web.https.listen: needs web.https.cert",
        ),
        (
            '[server]\nlisten = "127.0.0.1:1"\n[internal]\nlisten = "127.0.0.1:1"',
            "relay.toml:4: internal.listen: the same TCP address as server.listen",
        ),
        (
            '[web.http]\nlisten = "127.0.0.1:1"\n[internal]\nlisten = "127.0.0.1:1"',
            "relay.toml:4: internal.listen: the same TCP address as web.http.listen",
        ),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_place(folder, text, line):
    rest = '\n[auth]\npublic = ""\n'
    complaints = folder.complaints(text + rest)
    assert any(complaint.startswith(line) for complaint in complaints), complaints


@pytest.mark.parametrize(
    "text",
    [
        '[auth]\nkey = "locked/a.jwk"\n',
        '[auth]\nkey_dir = "locked/keys"\n',
        '[auth]\npublic = ""\n[server.tls]\ncert = "locked/c.pem"\nkey = "locked/c.pem"\n',
        '[auth]\npublic = ""\n[records]\nurl = "sqlite:///locked/in/r.db"\n',
    ],
)
def test_what_this_user_may_not_look_at_is_not_called_missing(folder, monkeypatch, text):
    looked = os.stat

    def look(path, *args, **named):
        if not isinstance(path, int) and "/locked/" in os.fspath(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return looked(path, *args, **named)

    monkeypatch.setattr(os, "stat", look)
    for line in folder.complaints(text):
        assert ": may not be read by this user: locked/" in line


@pytest.mark.parametrize("said", ["true", "false"])
def test_yes_and_no_are_no_numbers(folder, said):
    def is_number(kind):
        return kind in (int, float) or any(is_number(each) for each in get_args(kind))

    wanted = [name for name in SETTINGS if is_number(TYPES[name])]
    assert len(wanted) > 100
    complaints = folder.complaints("".join(f"{name} = {said}\n" for name in wanted))
    complained = {line.split(": ")[1] for line in complaints if "number" in line}
    assert complained >= set(wanted)


@pytest.mark.parametrize(
    ("auth", "line"),
    [
        ("keyz = 'x'", "relay.toml:2: auth.keyz: no such setting; did you mean auth.key?"),
        ("leeway = -1", "relay.toml:2: auth.leeway: expected a value greater than or equal to 0"),
        ("key_dir = 'keys'", "relay.toml:2: auth.key_dir: no such folder: keys"),
        ("key = 'https://u:p@x/'", "relay.toml:2: auth.key: expected a URL without user name"),
        ("jwks = ['no.json']", "relay.toml:2: auth.jwks: no such file: no.json"),
        ("jwks = [{url = 'x'}]", "relay.toml:2: auth.jwks: expected a URL that begins with"),
        ("jwks = [{url = 'https://x', file = 'y'}]", "relay.toml:2: auth.jwks: expected url or"),
        ("jwks = [{audience = 'x'}]", "relay.toml:2: auth.jwks: expected one of url, file, issuer"),
        ("issuers = ['x']", "relay.toml:2: auth.issuers: expected a URL that begins with"),
        ("issuers = [{url = 'https://x'}]", "relay.toml:2: auth.issuers: expected issuer and"),
        ("claims.root = 'a..b'", "relay.toml:2: auth.claims.root: expected names with single"),
        ("fetch.timeout = 0", "relay.toml:2: auth.fetch.timeout: expected a value greater than 0"),
        ("issuer = ''", "relay.toml:2: auth.issuer: expected at least 1 character"),
        (f"keys = {['k'] * 65}", "relay.toml:2: auth.keys: expected at most 64 items"),
        (f"public = '{'a/' * 40}'", "relay.toml:2: auth.public: a path of 40 segments (at most 32"),
        ("max_ttl = 0", "relay.toml:2: auth.max_ttl: expected a value greater than 0"),
        (
            "url = 'http://auth.example.com/'",
            "relay.toml:2: auth.url: plain http is for this machine only",
        ),
        (
            "auth_api = 'https://me:pass@auth.example.com/'",
            "relay.toml:2: auth.auth_api: a name or password in the address",
        ),
        (
            "url = 'https://auth.example.com/'\npublic = 'demo'",
            "relay.toml:3: auth.public: not beside auth.url, which decides",
        ),
        ("key = 'no.jwk'", "relay.toml:2: auth.key: no such file: no.jwk"),
        ("keys = ['no.jwk']", "relay.toml:2: auth.keys: no such file: no.jwk"),
        ("key = '.'", "relay.toml:2: auth.key: not a file"),
        ("public = true", "relay.toml:2: auth.public: expected a prefix or a list of prefixes"),
        ("", "auth: no key and nothing public, so nobody could ever come in"),
    ],
)
def test_a_wrong_right_is_one_line_with_its_place(folder, auth, line):
    complaints = folder.complaints(f"[auth]\n{auth}\n")
    assert any(complaint.startswith(line) for complaint in complaints), complaints


def test_a_misspelt_right_is_not_called_missing_as_well(folder):
    (complaint,) = folder.complaints('[auth]\npublc = "anon"\n')
    assert complaint.startswith("relay.toml:2: auth.publc: no such setting")


def test_a_setting_given_twice_names_both_places(folder):
    environ = {"MOQ_SERVER_BIND": "a:1", "MOQ_SERVER__LISTEN": "a:1"}
    (complaint,) = folder.complaints(OPEN, environ)
    assert "MOQ_SERVER_BIND" in complaint
    assert "MOQ_SERVER__LISTEN" in complaint


def test_all_complaints_come_at_once(folder):
    text = '[server]\nlissten = "a:1"\n[log]\nlevel = 3\n[limits]\nmax_sessions = "x"\n' + OPEN
    assert len(folder.complaints(text)) == 3


@pytest.mark.parametrize(
    ("section", "line"),
    [
        (
            "auth.claims]\nput = 'scope'\nroot = 'exp'",
            "7: auth.claims.root: expected a claim for root",
        ),
        ("auth.claims]\ntenant = 'put'", "6: auth.claims.tenant: expected a claim for tenant"),
        ("cluster]\nid = 7\nmesh = true", "7: cluster.mesh: expected node, the URL to tell others"),
        ("sidecar]\ntier = 'x'\nkey = 'k.pem'", "7: sidecar.key: expected cert and key together"),
        ("sidecar]\nrevalidate = 3", "6: sidecar.revalidate: expected expires beside revalidate"),
        ("client.tls]\nkey = 'k.pem'", "6: client.tls.key: cert and key belong together"),
        ("cluster]\nmesh = 'a:b:c'", "6: cluster.mesh: 'a:b:c' is no URL"),
        ("cluster]\nmesh = 'https://a/?jwt=x'", "6: cluster.mesh: it is told to everybody"),
    ],
)
def test_a_complaint_about_several_settings_points_at_one(folder, section, line):
    folder.write("k.pem")
    (complaint,) = folder.complaints(f"{OPEN}[{section}\n")
    assert complaint.startswith(f"relay.toml:{line}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", "a value greater than or equal to 1"), ("'x'", "a whole number")],
)
def test_a_setting_of_two_kinds_has_one_complaint(folder, value, expected):
    (complaint,) = folder.complaints(f"{OPEN}[server]\nworkers = {value}\n")
    assert complaint.endswith(f"server.workers: expected {expected}, or 'auto'")


def test_not_a_toml_file(folder):
    (complaint,) = folder.complaints("[server\n")
    assert complaint.startswith("relay.toml: not a TOML file: ")
    assert "line 1" in complaint


@pytest.mark.parametrize(
    ("auth", "line"),
    [
        ('key = ""', "relay.toml:2: auth.key: expected a file name, and this is empty"),
        ('keys = ["a.jwk", ""]', "relay.toml:2: auth.keys: expected a file name"),
        ('key_dir = ""', "relay.toml:2: auth.key_dir: expected a file name"),
        ('key = "a\\u0000b"', "relay.toml:2: auth.key: expected a file name, and this holds a NUL"),
        ('[cluster]\ntoken = "a\\u0000b"', "relay.toml:3: cluster.token: expected a file name"),
    ],
)
def test_what_is_no_file_name_is_not_the_folder_of_the_file(folder, auth, line):
    folder.write("a.jwk")
    (complaint,) = folder.complaints(f"[auth]\n{auth}\n")
    assert complaint.startswith(line)
    environ = {"MOQ_AUTH__KEYS": '["a.jwk", ""]'}
    assert folder.complaints("", environ)[0].startswith("MOQ_AUTH__KEYS: expected a file name")


def test_a_file_may_begin_with_a_byte_order_mark_as_upstreams_may(folder):
    loaded = folder.load(f"\ufeff{OPEN}")
    assert loaded.settings.auth.public.publish == ("",)
    (complaint,) = folder.complaints(f"\ufeff{OPEN}leway = 1")
    assert complaint.startswith("relay.toml:5: auth.leway: no such setting")


def test_no_such_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml: No such file"):
        load(tmp_path / "no.toml", {}, {})


SECRET = '{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0","alg":"HS256"}'


@pytest.mark.parametrize("name", ["key", "keys"])
@pytest.mark.parametrize("secret", [SECRET, "eyJrdHkiOiJvY3QifQ"])
def test_a_secret_where_a_file_name_belongs_is_not_echoed(folder, name, secret):
    (complaint,) = folder.complaints("", {f"MOQ_AUTH__{name.upper()}": secret})
    assert complaint.startswith(f"MOQ_AUTH__{name.upper()}: ")
    assert "c2Vj" not in complaint
    assert "eyJ" not in complaint


def test_no_value_of_a_setting_is_echoed(folder):
    (complaint,) = folder.complaints('[auth]\npublic = ""\nleeway = "hunter2"\n')
    assert "hunter2" not in complaint


def test_a_key_that_others_can_read_is_said_and_obeyed(folder):
    folder.write("a.jwk", mode=0o644)
    loaded = folder.load('[server.tls]\ngenerate = ["localhost"]\n[auth]\nkey = "a.jwk"\n')
    (warning,) = loaded.warnings
    assert "relay.toml:4: auth.key" in warning
    assert "can be read by others" in warning


def test_a_public_key_may_be_read_by_everybody(folder):
    pair = generate("ES256", "k1")
    for key, doubts in ((pair.public(), 0), (pair, 1)):
        folder.write("a.jwk", mode=0o644)
        (folder.path / "a.jwk").write_bytes(key.dump())
        loaded = folder.load('[server.tls]\ngenerate = ["localhost"]\n[auth]\nkey = "a.jwk"\n')
        assert len(loaded.warnings) == doubts, loaded.warnings


def test_lists_in_the_environment_are_json_or_separated_by_commas(folder):
    folder.write("a.jwk")
    folder.write("b.jwk")
    names = [str(folder.path / name) for name in ("a.jwk", "b.jwk")]
    for text in (",".join(names), f'["{names[0]}", "{names[1]}"]'):
        assert folder.load("", {"MOQ_AUTH__KEYS": text}).settings.auth.keys == tuple(names)
    public = folder.load("", {"MOQ_AUTH__PUBLIC": "anon, demo"}).settings.auth.public
    assert public.publish == ("anon", "demo")
    public = folder.load("", {"MOQ_AUTH__PUBLIC__SUBSCRIBE": "anon"}).settings.auth.public
    assert (public.publish, public.subscribe) == ((), ("anon",))


@pytest.mark.parametrize("text", ["anon,", ",anon", "anon,,demo", ",", "anon, "])
def test_a_comma_too_many_does_not_open_everything(folder, text):
    for name in ("MOQ_AUTH__PUBLIC", "MOQ_AUTH_PUBLIC_SUBSCRIBE"):
        line = f"{name}: one of the items is empty; where that is meant say it in JSON"
        assert line in folder.complaints(OPEN, {name: text})
    public = folder.load("", {"MOQ_AUTH__PUBLIC": '["anon", ""]'}).settings.auth.public
    assert public.publish == ("",)


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_an_empty_variable_says_nothing(folder, text):
    assert folder.complaints("", {"MOQ_AUTH__PUBLIC": text})[0].startswith("auth: no key")


@pytest.mark.parametrize("names", ['""', '["localhost", " "]'])
def test_no_certificate_is_made_for_nobody(folder, names):
    (line,) = folder.complaints(OPEN.replace('["localhost"]', names))
    expected = "expected a host name or an address, and this is empty"
    assert line == f"relay.toml:2: server.tls.generate: {expected}"


def test_a_narrower_environment_replaces_a_wider_file(folder):
    environ = {"MOQ_AUTH__PUBLIC__SUBSCRIBE": "anon"}
    public = folder.load('[auth]\npublic = ""\n', environ).settings.auth.public
    assert (public.publish, public.subscribe) == ((), ("anon",))


def test_upstreams_variables_with_single_underscores(folder):
    environ = {"MOQ_SERVER_BIND": "127.0.0.1:9", "MOQ_IROH_SECRET": "x", "MOQ_HOME": "y"}
    assert folder.load(OPEN, environ).settings.server.listen.port == 9


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MOQ_AUTH_REQUIRE_EXPP", "MOQ_AUTH_REQUIRE_EXP"),
        ("MOQ_SERVER_TLS_CERTS", "MOQ_SERVER_TLS_CERT"),
        ("MOQ_HOME", None),
        ("MOQ_MASTER_KEY", None),
    ],
)
def test_a_variable_that_is_only_misspelt_is_not_ignored_without_a_word(folder, variable, meant):
    said = [line for line in folder.load(OPEN, {variable: "1"}).warnings if variable in line]
    assert said == ([f"{variable}: no such setting, ignored; did you mean {meant}?"] * bool(meant))


@pytest.mark.parametrize(
    ("variable", "setting", "value"),
    [
        ("MOQ_CLIENT_CONNECT_TIMEOUT", "client.timeout", 7.0),
        ("MOQ_SERVER_MAX_STREAMS", "quic.max_streams", 7),
        ("MOQ_AUTH_PUBLIC_SUBSCRIBE", "auth.public.subscribe", ("7",)),
        ("MOQ_SERVER_TLS_SELF_SIGN", "server.tls.generate", ("7",)),
    ],
)
def test_upstreams_variables_mean_what_they_mean_there(folder, variable, setting, value):
    found = folder.load(OPEN, {variable: "7"}).settings
    for name in setting.split("."):
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize("name", ["MOQ_AUTH_PUBLIC_API", "MOQ_WEB_HTTPS_ROOT"])
def test_a_variable_that_decides_who_may_come_in_is_obeyed_or_stops_the_start(folder, name):
    (complaint,) = folder.complaints(OPEN, {name: "x"})
    assert complaint.startswith(f"{name}: ")
    assert "no such setting" not in complaint


@pytest.mark.parametrize(
    "name",
    ["MOQ_SERVER_QUIC_GSO", "MOQ_IROH_ENABLED", "MOQ_BACKOFF_MAX", "MOQ_CLUSTER_TIER"],
)
def test_a_variable_that_is_not_obeyed_is_said(folder, name):
    warnings = folder.load(OPEN, {name: "1"}).warnings
    assert f"{name}: not built here, ignored" in warnings


def test_upstreams_settings_that_tune_do_not_stop_the_start(folder):
    text = (
        '[client]\nfailover_delay = "250ms"\nresolution_delay = "50ms"\nmax_streams = 9\n'
        'version = "moq-lite-03"\n[client.backoff]\nmax = "1s"\n[client.websocket]\n'
        "enabled = true\n[server]\nmax_streams = 99\npreferred_v4 = '1.2.3.4:5'\n"
        '[cluster]\ntier = "x"\n'
    )
    loaded = folder.load(f'{text}[auth]\npublic = ""\nmtls_tier = "x"\n')
    assert loaded.settings.quic.max_streams == 99
    ignored = [line for line in loaded.warnings if "not built here" in line]
    assert len(ignored) == 8


def test_what_other_servers_call_it_is_answered_with_what_it_is_called_here(folder):
    text = "[jwt]\nissuer = 'x'\n[authentication]\nadmin_api_key = 'y'\n"
    first, second, *_ = folder.complaints(text)
    assert "auth.issuer" in first
    assert "admin.api_key" in second


@pytest.mark.parametrize("written", ["soon", "PT1M", "1:30", "5 parsecs", "1m30"])
def test_a_time_that_is_none_is_told_how_times_are_written(folder, written):
    (line,) = folder.complaints(OPEN + f'[quic]\nidle_timeout = "{written}"\n')
    assert line.endswith('expected a number of seconds, or a time such as "30s" or "1m30s"')


def test_a_cache_may_be_a_share_of_the_memory(folder):
    half = folder.load(OPEN + '[cache]\ncapacity = "50%"\n').settings.cache.cache_bytes
    tenth = folder.load(OPEN + '[cache]\ncapacity = "10%"\n').settings.cache.cache_bytes
    assert half > tenth > 1 << 20
    assert half == pytest.approx(5 * tenth, abs=5)


def test_the_log_has_the_level_that_programs_in_rust_would_have(folder):
    text = OPEN + '[log]\nlevel = "error"\n'
    loaded = folder.load(text, {"RUST_LOG": "debug", "MOQ_LOG__LEVEL": "warn"})
    assert loaded.settings.log.level == "debug"
    loaded = folder.load(text, {"RUST_LOG": "moq_relay=debug"})
    assert loaded.settings.log.level == "error"
    assert "RUST_LOG: only a level is understood, such as debug; ignored" in loaded.warnings


def test_a_public_key_may_stand_in_the_file_and_a_secret_one_only_in_the_environment(folder):
    pair = generate("RS256", None)
    public = pair.public().dump().decode()
    loaded = folder.load(f"[auth]\nkey = '''{public}'''\n")
    assert loaded.settings.auth.key_texts == (public,)
    assert loaded.settings.auth.key_files == ()
    secret = pair.dump().decode()
    (complaint,) = folder.complaints(f"[auth]\nkey = '''{secret}'''\n")
    assert complaint.startswith("relay.toml:2: auth.key: a secret key belongs into a file")
    assert folder.load("", {"MOQ_AUTH__KEY": secret}).settings.auth.key_texts == (secret,)


def test_the_operators_token_lets_its_bearer_in_where_no_hash_says_whom(folder):
    token, hash = make_key(100_000)
    settings = folder.load(OPEN, {"MOQ_ADMIN_TOKEN": token}).settings
    found = derivation(token, (settings.admin.api_key,))
    assert derive(found) == settings.admin.api_key.digest
    text = f'{OPEN}[admin]\napi_key = "{hash}"\n'
    settings = folder.load(text, {"MOQ_ADMIN_TOKEN": make_key(100_000).bearer}).settings
    assert settings.admin.api_key == hash
    loaded = folder.load(OPEN, {"MOQ_ADMIN_TOKEN": "hunter2"})
    assert loaded.settings.admin.api_key is None
    (warning,) = [line for line in loaded.warnings if "MOQ_ADMIN_TOKEN" in line]
    assert "relay hash-token" in warning
    assert "hunter2" not in warning


def test_a_link_without_its_token_is_said_at_the_start(folder):
    loaded = folder.load(OPEN + '[cluster]\ntoken = "no.jwt"\n')
    assert any("cluster.token: no such file" in line for line in loaded.warnings)


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        (
            "MOQ_SERVER__LISSTEN",
            "MOQ_SERVER__LISSTEN: no such setting; did you mean MOQ_SERVER__LISTEN?",
        ),
        ("MOQ_NOTHING__AT_ALL", "MOQ_NOTHING__AT_ALL: no such setting"),
        ("MOQ_LIMITS__MAX_SESSIONS", "MOQ_LIMITS__MAX_SESSIONS: expected a whole number"),
    ],
)
def test_a_wrong_variable_is_one_line(folder, variable, line):
    assert folder.complaints(OPEN, {variable: "x"}) == [line]


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        ("MOQ_AUTH__API_KEYS__PLANT__HASH", "MOQ_AUTH__API_KEYS takes the whole table, as JSON"),
        ("MOQ_SINKS__LAKE__KIND", "MOQ_SINKS takes the whole table, as JSON"),
        (
            "MOQ_AUTH__API_KEYS",
            'expected a table as JSON, such as {"name": {"setting": "value"}}',
        ),
    ],
)
def test_a_table_is_one_variable(folder, variable, line):
    assert folder.complaints(OPEN, {variable: "x"}) == [f"{variable}: {line}"]


@pytest.mark.parametrize("name", ["MOQ_AUTH__API_KEYS", "MOQ_AUTH__KEYS"])
def test_brackets_without_end_in_the_environment_are_one_line(folder, name):
    assert folder.complaints(OPEN, {name: "[" * 100_000}) == [f"{name}: not valid JSON"]


def test_a_variable_that_is_no_text(folder):
    said = {"MOQ_SERVER__GOAWAY": os.fsdecode(b"https://\xff"), "OTHER": os.fsdecode(b"\xff")}
    assert folder.complaints(OPEN, said) == ["MOQ_SERVER__GOAWAY: not UTF-8 text"]


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.sampled_from(["server", "auth", "web", "limits", "cluster", "x", "tls"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["listen", "tls", "public", "key", "http"]), inner
                )
            ),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_any_file_is_settings_or_a_complaint(folder, tables):
    text = "\n".join(f"{name} = {_toml(value)}" for name, value in tables.items())
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    try:
        folder.load(text)
    except ConfigError as error:
        said = str(error)
    else:
        said = "settings"
    assert said


def _toml(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + "".join(c for c in value if c.isprintable() and c != "'") + "'"
    return "''" if value is None else str(value)


def test_key_sources_are_read_beside_the_file_and_urls_as_they_are(folder):
    folder.write("set.json")
    folder.write("other.json")
    (folder.path / "keys").mkdir()
    auth = folder.load(
        "[auth]\nkey_dir = 'keys'\nkey = 'https://a.example/k'\n"
        "jwks = ['https://b.example/j', 'set.json', {file = 'other.json', audience = 'me'}]\n"
        "issuers = ['https://c.example/', {issuer = 'https://d.example', audience = 'you'}]\n"
    ).settings.auth
    assert auth.key_dir == str(folder.path / "keys")
    assert (auth.key, auth.key_files) == ("https://a.example/k", ())
    assert [(each.url, each.file, each.issuer, each.audience) for each in auth.key_sets] == [
        ("https://b.example/j", None, None, None),
        (None, str(folder.path / "set.json"), None, None),
        (None, str(folder.path / "other.json"), None, "me"),
        (None, None, "https://c.example/", None),
        (None, None, "https://d.example", "you"),
    ]


def test_key_urls_in_the_environment(folder):
    environ = {"MOQ_AUTH__JWKS": "https://a.example/j, https://b.example/j"}
    jwks = folder.load("", environ).settings.auth.jwks
    assert [each.url for each in jwks] == ["https://a.example/j", "https://b.example/j"]


@pytest.mark.parametrize("prefix", ["", "/", ".internal", ".internal/x"])
def test_numbers_have_a_place_of_their_own(folder, prefix):
    text = OPEN_STATS.format(prefix)
    assert any(
        "stats.prefix: expected a path of its own" in each for each in folder.complaints(text)
    )
    assert folder.load(OPEN_STATS.format("a//b/")).settings.stats.prefix == "a/b"


OPEN_STATS = '[server.tls]\ngenerate = ["localhost"]\n[auth]\npublic = ""\n[stats]\nprefix = "{}"\n'
