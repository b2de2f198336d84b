"""Upstream's other spellings, in a file, as variables and as flags, mean what they mean there."""

from __future__ import annotations

from pathlib import Path as File

import pytest

from relay.auth.keys import generate
from relay.cli.flags import find
from relay.cluster.lists import file_of
from relay.config import load, names, sources
from relay.config.shape import ServerSettings
from relay.errors import ConfigError

OPEN = '[auth]\npublic = ""\n'

MEANT = [
    ("connect.bind", "MOQ_CONNECT_BIND", "--connect-bind", "client.bind"),
    ("connect.timeout", "MOQ_CONNECT_TIMEOUT", "--connect-timeout", "client.timeout"),
    ("connect.tls.cert", "MOQ_CONNECT_TLS_CERT", "--connect-tls-cert", "client.tls.cert"),
    (
        *("connect.tls.insecure", "MOQ_CONNECT_TLS_INSECURE", "--connect-tls-insecure"),
        "client.tls.disable_verify",
    ),
    ("connect.tls.root", "MOQ_CONNECT_TLS_ROOT", "--connect-tls-root", "client.tls.root"),
    (
        *("connect.websocket.delay", "MOQ_CONNECT_WEBSOCKET_DELAY", "--connect-websocket-delay"),
        "client.websocket.delay",
    ),
    (
        *("client.websocket.enabled", "MOQ_CLIENT_WEBSOCKET_ENABLED", "--websocket-enabled"),
        "client.websocket.enabled",
    ),
    ("cluster.advertise", "MOQ_CLUSTER_ADVERTISE", "--cluster-advertise", "cluster.node"),
    ("drain_timeout", "MOQ_DRAIN_TIMEOUT", "--drain-timeout", "server.drain"),
    ("listen.bind", "MOQ_LISTEN", None, "server.listen"),
    ("listen.tcp.bind", "MOQ_LISTEN_TCP_BIND", "--listen-tcp-bind", "server.tcp.listen"),
    ("listen.timeout", "MOQ_LISTEN_TIMEOUT", "--listen-timeout", "limits.handshake_timeout"),
    ("listen.tls.cert", "MOQ_LISTEN_TLS_CERT", "--listen-tls-cert", "server.tls.cert"),
    ("listen.tls.generate", "MOQ_LISTEN_TLS_GENERATE", "--listen-tls-generate", None),
    ("listen.tls.root", "MOQ_LISTEN_TLS_ROOT", "--listen-tls-root", "server.tls.root"),
    (
        *("listen.unix.allow.pid", "MOQ_LISTEN_UNIX_ALLOW_PID", "--listen-unix-allow-pid"),
        "server.unix.allow.pid",
    ),
    ("listen.unix.bind", "MOQ_LISTEN_UNIX_BIND", "--listen-unix-bind", "server.unix.listen"),
    ("listen.version", "MOQ_LISTEN_VERSION", "--listen-version", "server.versions"),
    ("server.tcp.bind", "MOQ_SERVER_TCP_BIND", "--server-tcp-bind", "server.tcp.listen"),
    ("quic.idle_timeout", "MOQ_QUIC_IDLE_TIMEOUT", "--quic-idle-timeout", "quic.idle_timeout"),
    ("quic.max_streams", "MOQ_QUIC_MAX_STREAMS", "--quic-max-streams", "quic.max_streams"),
    ("quic.receive_window", "MOQ_QUIC_RECEIVE_WINDOW", "--quic-receive-window", "quic.max_data"),
    (
        *("server.quic.congestion_control", "MOQ_SERVER_QUIC_CONGESTION_CONTROL"),
        *("--server-quic-congestion-control", "quic.congestion_control"),
    ),
    (
        *("server.quic.idle_timeout", "MOQ_SERVER_QUIC_IDLE_TIMEOUT"),
        *("--server-quic-idle-timeout", "quic.idle_timeout"),
    ),
    (
        *("listen.quic.max_streams", "MOQ_LISTEN_QUIC_MAX_STREAMS"),
        *("--listen-quic-max-streams", "quic.max_streams"),
    ),
    (
        *("quic.stream_receive_window", "MOQ_QUIC_STREAM_RECEIVE_WINDOW"),
        *("--quic-stream-receive-window", "quic.max_stream_data"),
    ),
]

NOT_BUILT = [
    ("cache.latency_default", "MOQ_CACHE_LATENCY_DEFAULT", "--cache-latency-default"),
    ("cluster.lan.enabled", "MOQ_CLUSTER_LAN", "--cluster-lan"),
    ("cluster.lan.secret", "MOQ_CLUSTER_LAN_SECRET", "--cluster-lan-secret"),
    ("cluster.max_hops", "MOQ_CLUSTER_MAX_HOPS", "--cluster-max-hops"),
    ("cluster.prefix", "MOQ_CLUSTER_PREFIX", "--cluster-prefix"),
    ("connect.backoff.initial", "MOQ_BACKOFF_INITIAL", "--backoff-initial"),
    ("connect.goaway.redirect", "MOQ_GOAWAY_REDIRECT", "--goaway-redirect"),
    ("connect.once", "MOQ_CONNECT_ONCE", "--connect-once"),
    ("connect.race", "MOQ_CONNECT_RACE", "--connect-race"),
    ("connect.tls.host_name", "MOQ_CONNECT_TLS_HOST_NAME", "--connect-tls-host-name"),
    ("connect.tls.system_roots", "MOQ_CONNECT_TLS_SYSTEM_ROOTS", "--connect-tls-system-roots"),
    ("connect.url", "MOQ_CONNECT", "--connect"),
    ("connect.version", "MOQ_CONNECT_VERSION", "--connect-version"),
    ("listen.lb_id", "MOQ_LISTEN_QUIC_LB_ID", "--listen-quic-lb-id"),
    ("listen.preferred_v4", "MOQ_LISTEN_PREFERRED_V4", "--listen-preferred-v4"),
    ("quic.gso", "MOQ_QUIC_GSO", "--quic-gso"),
    ("quic.keep_alive", "MOQ_QUIC_KEEP_ALIVE", "--quic-keep-alive"),
    ("quic.qlog", "MOQ_QUIC_QLOG", "--quic-qlog"),
    ("server.quic.gso", "MOQ_SERVER_QUIC_GSO", "--server-quic-gso"),
    ("server.quic.qlog", "MOQ_SERVER_QUIC_QLOG", "--server-quic-qlog"),
    (
        *("client.quic.congestion_control", "MOQ_CLIENT_QUIC_CONGESTION_CONTROL"),
        "--client-quic-congestion-control",
    ),
    ("runtime.io_uring", "MOQ_RUNTIME_IO_URING", "--runtime-io-uring"),
    ("runtime.workers", "MOQ_RUNTIME_WORKERS", "--runtime-workers"),
    ("stats.levels", "MOQ_STATS_LEVELS", "--stats-levels"),
    ("stats.retention", "MOQ_STATS_RETENTION", "--stats-retention"),
    ("web.health.cpu", "MOQ_WEB_HEALTH_CPU", "--web-health-cpu"),
    ("stats.linger", "MOQ_STATS_LINGER", "--stats-linger"),
]


def _written(dotted: str, value: str) -> str:
    section, _, name = dotted.rpartition(".")
    return f"[{section}]\n{name} = {value}\n" if section else f"{name} = {value}\n"


@pytest.mark.parametrize(("dotted", "variable", "flag", "setting"), MEANT)
def test_a_newer_name_is_the_same_setting_everywhere(
    dotted: str, variable: str, flag: str | None, setting: str | None
) -> None:
    meant = setting or names.canonical(dotted)
    assert names.canonical(dotted) == meant
    told = list(sources.from_environment({variable: "1"}).entries)
    assert told == [meant, *([names.IMPLIED[dotted][0]] if dotted in names.IMPLIED else [])]
    if flag is not None:
        found = find(flag)
        assert found is not None
        assert names.canonical(found.setting) == meant


@pytest.mark.parametrize(("dotted", "variable", "flag"), NOT_BUILT)
def test_what_is_newer_and_not_built_is_said_and_stops_nothing(folder, dotted, variable, flag):
    for loaded in (
        folder.load(_written(dotted, '"1"') + OPEN),
        folder.load(OPEN, {variable: "1"}),
        folder.load(OPEN, None, **{find(flag).setting.replace(".", "__"): "1"}),
    ):
        assert any("not built here, ignored" in line for line in loaded.warnings)


@pytest.mark.parametrize("section", ["server", "listen"])
def test_a_unix_socket_and_who_may_dial_it(folder, section):
    upper = f"MOQ_{section.upper()}_UNIX"
    allow = f"[{section}.unix.allow]\nuid = [1, 2]\ngid = 3\n"
    in_file = f'[{section}.unix]\nbind = "r.sock"\n{allow}'
    around = {f"{upper}_BIND": "r.sock", f"{upper}_ALLOW_UID": "1,2", f"{upper}_ALLOW_GID": "3"}
    for loaded in (folder.load(in_file + OPEN), folder.load(OPEN, around)):
        unix = loaded.settings.server.unix
        assert unix.listen.name == "r.sock"
        assert (unix.allow.uid, unix.allow.gid, unix.allow.pid) == ((1, 2), (3,), ())


def test_a_unix_socket_stands_beside_the_file_that_names_it(folder):
    loaded = folder.load('[server.unix]\nbind = "r.sock"\n' + OPEN)
    assert loaded.settings.server.unix.listen == folder.path / "r.sock"
    home = folder.load('[server.unix]\nbind = "~/r.sock"\n' + OPEN).settings
    assert home.server.unix.listen == File.home() / "r.sock"
    with pytest.raises(ConfigError, match=r"server\.unix\.bind: no such folder"):
        folder.load('[server.unix]\nbind = "none/r.sock"\n' + OPEN)


@pytest.mark.parametrize(("server", "is_told"), [("", True), ('listen = "127.0.0.1:0"\n', False)])
def test_that_quic_is_taken_beside_plain_streams_is_told(folder, server, is_told):
    file = f'[server]\n{server}[server.tcp]\nbind = "127.0.0.1:0"\n{OPEN}'
    told = [each for each in folder.load(file).warnings if "QUIC is taken at [::]:4443" in each]
    assert bool(told) is is_told


@pytest.mark.parametrize("wrong", ["[-1]", '["root"]', "[1.5]", "[true]"])
def test_who_may_dial_is_said_in_numbers(folder, wrong):
    with pytest.raises(ConfigError, match=r"server\.unix\.allow\.uid: "):
        folder.load(f"[server.unix.allow]\nuid = {wrong}\n" + OPEN)


@pytest.mark.parametrize(
    "flag", ["--cluster-lan", "--connect-once", "--runtime-pin", "--tls-system-roots"]
)
def test_a_newer_switch_does_not_take_the_next_word_for_its_value(flag: str) -> None:
    found = find(flag)
    assert found is not None
    assert found.is_switch


def test_a_newer_file_loads_whole(folder):
    folder.write("c.pem")
    folder.write("k.pem")
    found = folder.load(
        'drain_timeout = "500ms"\n'
        '[listen]\nbind = "127.0.0.1:0"\n[listen.tls]\ncert = ["c.pem"]\nkey = ["k.pem"]\n'
        '[connect.websocket]\nenabled = false\ndelay = "500ms"\n[quic]\nidle_timeout = "10s"\n'
        'congestion_control = "loss"\n[web.https]\nlisten = "127.0.0.1:0"\n'
        'cert = ["c.pem"]\nkey = ["k.pem"]\n[auth]\npublic = "anon/**"\n'
        '[[cluster.connect]]\nurl = "https://a.example.com/"\ncost = 2\ntoken = "T"\n'
    )
    settings = found.settings
    assert (settings.server.drain, settings.quic.idle_timeout) == (0.5, 10.0)
    assert settings.quic.congestion_control == "cubic"
    websocket = settings.client.websocket
    assert (websocket.enabled, websocket.delay) == (False, 0.5)
    assert settings.web.https.cert == (folder.path / "c.pem",)
    assert settings.cluster.connect == ("https://a.example.com/?cost=2&jwt=T",)


@pytest.mark.parametrize("word", ["delay", "Delay", "bbr"])
def test_congestion_control_by_delay_is_by_rate(folder, word):
    loaded = folder.load(f'[quic]\ncongestion_control = "{word}"\n' + OPEN)
    assert loaded.settings.quic.congestion_control == "bbr"
    assert not any("congestion" in line for line in loaded.warnings)


def test_what_stood_with_the_server_is_the_same_for_every_connection(folder):
    file = '[server.quic]\ncongestion_control = "delay"\nidle_timeout = "10s"\nqlog = "q"\n' + OPEN
    loaded = folder.load(file)
    assert loaded.settings.quic.congestion_control == "bbr"
    assert loaded.settings.quic.idle_timeout == 10.0
    (told,) = [each for each in loaded.warnings if "not built" in each]
    assert told.endswith("relay.toml:4: server.quic.qlog: not built here, ignored")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('"moq-lite-02"', ("moql",)),
        ('["moq-lite-06-wip", "moq-lite-05"]', ("moq-lite-06", "moq-lite-05")),
        ('["moq-lite-03", "moq-lite-02", "moq-lite-01"]', ("moq-lite-03", "moql")),
    ],
)
def test_versions_by_the_names_they_have_there(folder, said, meant):
    for name in ("listen.version", "server.version", "server.versions"):
        section, _, last = name.partition(".")
        loaded = folder.load(f"[{section}]\n{last} = {said}\n" + OPEN)
        assert loaded.settings.server.versions == meant
    loaded = folder.load(OPEN, {"MOQ_LISTEN_VERSION": "moq-lite-04,moq-lite-02"})
    assert loaded.settings.server.versions == ("moq-lite-04", "moql")


def test_subdomains_are_places_by_every_name_that_the_setting_has(folder):
    meant = ("eu.cdn.example.com", "cdn.example.com")
    text = '[auth]\npublic = ""\ndomains = [".cdn.example.com", "EU.cdn.example.com"]\n'
    assert folder.load(text).settings.auth.domains == meant
    loaded = folder.load(OPEN, {"MOQ_AUTH_DOMAIN": "cdn.example.com,eu.cdn.example.com"})
    assert loaded.settings.auth.domains == meant
    (told,) = folder.complaints('[auth]\npublic = ""\ndomain = "cdn.example.com:443"\n')
    assert told.startswith("relay.toml:3: auth.domain: expected names of hosts such as")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('public = "https://api.example.com/p"', "public"),
        ('public = { subscribe = ["anon", "http://a/"] }', "public.subscribe"),
        ('public = { api = "https://api.example.com/p" }', "public.api"),
        ('public_api = "https://api.example.com/p"', "public_api"),
    ],
)
def test_a_service_that_says_what_is_public_stops_the_start(folder, line, named):
    (told,) = folder.complaints(f"[auth]\n{line}\n")
    assert told.startswith(f"relay.toml:2: auth.{named}: asking a service what is public is not")
    assert "name prefixes in auth.public, or set auth.auth_api" in told
    asked = folder.load('[auth]\nauth_api = "https://api.example.com/"\n').settings.auth
    assert (asked.url, asked.contract) == ("https://api.example.com/", "api")


def test_how_often_keys_were_asked_for_is_said_and_stops_nothing(folder):
    loaded = folder.load(OPEN + "refresh_interval = 86400\n")
    assert any("auth.refresh_interval: not built here, ignored" in each for each in loaded.warnings)


@pytest.mark.parametrize(("older", "here"), [("tcp", "tcp"), ("uds", "unix")])
def test_streams_that_let_anybody_in_stop_the_start(folder, older, here):
    told = folder.complaints(f'[internal.{older}]\nlisten = "x"\n{OPEN}')
    why = f"plain streams let nobody in without a token here; see server.{here}.listen"
    assert told == [f"relay.toml:1: internal.{older}: {why}"]


@pytest.mark.parametrize("section", ["server.tls", "web.https"])
def test_several_pairs_have_a_key_for_each_certificate(folder, section):
    for file in ("a.pem", "b.pem"):
        (folder.path / file).touch(0o600)
    text = f'[{section}]\ncert = ["a.pem", "b.pem"]\nkey = {{}}\n'
    more = '[web.https]\nlisten = "127.0.0.1:0"\n' if section == "server.tls" else ""
    more = more and more + 'cert = "a.pem"\nkey = "a.pem"\n'
    assert folder.complaints(text.format('"a.pem"') + more + OPEN) == [
        f"relay.toml:3: {section}.key: expected a key for each certificate, in the same order: "
        f"1 here, and 2 in {section}.cert"
    ]
    settings = folder.load(text.format('["b.pem", "a.pem"]') + more + OPEN).settings
    pairs = settings.server.tls if section == "server.tls" else settings.web.https
    assert [file.name for file in (*pairs.cert, *pairs.key)] == ["a.pem", "b.pem", "b.pem", "a.pem"]


def test_several_pairs_in_a_variable(folder):
    for file in ("a.pem", "b.pem"):
        (folder.path / file).touch(0o600)
    files = f"{folder.path / 'a.pem'},{folder.path / 'b.pem'}"
    given = {"MOQ_SERVER_TLS_CERT": files, "MOQ_SERVER_TLS_KEY": files}
    tls = folder.load(OPEN, given).settings.server.tls
    assert tls.cert == tls.key == (folder.path / "a.pem", folder.path / "b.pem")


def test_a_relay_that_advertises_itself_is_found_by_the_others(folder):
    for said in ("advertise", "node"):
        text = f'[cluster]\nconnect = "root:4443"\n{said} = "leaf:4443"\n'
        cluster = folder.load(text + OPEN).settings.cluster
        assert (cluster.connect, cluster.node) == (("root:4443",), "leaf:4443")
        assert cluster.mesh is (said == "advertise")


@pytest.mark.parametrize("is_first", [True, False])
def test_what_a_name_implies_gives_way_to_what_is_written(folder, is_first):
    def both(one: str, other: str) -> str:
        return f"{one}\n{other}\n" if is_first else f"{other}\n{one}\n"

    mesh = both('advertise = "leaf:4443"', "mesh = false")
    assert not folder.load(f"[cluster]\n{mesh}{OPEN}").settings.cluster.mesh
    auth = both('auth_api = "https://auth.example.com/"', 'contract = "events"')
    assert folder.load(f"[auth]\n{auth}").settings.auth.contract == "events"


def test_no_handshake_would_be_in_time(folder):
    (line,) = folder.complaints('[listen]\ntimeout = "0s"\n' + OPEN)
    assert line == "relay.toml:2: listen.timeout: expected more than zero"


@pytest.mark.parametrize("name", ["connect.timeout", "client.connect_timeout", "client.timeout"])
def test_a_dial_may_take_as_long_as_it_takes(folder, name):
    section, _, last = name.partition(".")
    for text in ('"0"', '"0s"', "0"):
        assert folder.load(f"[{section}]\n{last} = {text}\n{OPEN}").settings.client.timeout == 0


@pytest.mark.parametrize("url", ["http://[::1", "https://", "https://a:b@h/", "file://[::1"])
def test_a_list_of_relays_that_nobody_could_ask_for_stops_the_start(folder, url):
    (line,) = folder.complaints(f'[cluster]\nconnect_api = "{url}"\n' + OPEN)
    assert line.startswith("relay.toml:2: cluster.connect_api: ")
    assert "a:b" not in line


def test_a_wrong_table_for_a_relay_repeats_no_token(folder):
    text = '[[cluster.connect]]\nurl = "https://a/?jwt=SECRET"\ntoken = "SECRET"\n'
    (line,) = folder.complaints(text + OPEN)
    assert line.startswith("relay.toml:1: cluster.connect: expected relays to dial: token stands")
    assert "SECRET" not in line


@pytest.mark.parametrize(
    ("said", "file"),
    [("relays.json", "relays.json"), ("/srv/relays.json", "/srv/relays.json")],
)
@pytest.mark.parametrize("is_url", [False, True])
def test_a_list_of_relays_in_a_file_is_found_however_it_is_named(folder, said, file, is_url):
    named = f"file://{folder.path / file}" if is_url else said
    found = folder.load(f'[cluster]\nconnect_api = "{named}"\n{OPEN}').settings.cluster
    assert file_of(found.connect_api) == folder.path / file


@pytest.mark.parametrize("url", ["x", "//h", "https://", "https://h\\u0000/", "https://[h/"])
def test_nobody_is_sent_to_what_is_no_url(folder, url):
    (complaint,) = folder.complaints(f'[server]\ngoaway = "{url}"\n{OPEN}')
    assert complaint.endswith("server.goaway: expected a URL with a host")


@pytest.mark.parametrize("url", ["", "https://other.example.com:4443/", "moqt://[::1]:4443"])
def test_peers_are_sent_elsewhere(folder, url):
    assert folder.load(f'[server]\ngoaway = "{url}"\n{OPEN}').settings.server.goaway == url


def test_a_relay_that_starts_again_does_so_before_clients_of_moq_rs_give_up():
    patience = 10.0  # from GOAWAY on (moq-tokio 0.19, `Backoff.timeout`)
    assert ServerSettings().drain <= patience / 2


def test_a_folder_of_keys_by_a_way_that_is_never_taken_is_told(folder):
    text = OPEN + 'key_dir = "http://keys.example.com/"\n'
    (told,) = [each for each in folder.load(text).warnings if "auth.key_dir" in each]
    why = "plain HTTP: use https, or set auth.fetch.allow_http; no key is found there"
    assert told.endswith(f"relay.toml:3: auth.key_dir: {why}")
    for kept in ("[auth.fetch]\nallow_http = true\n", "[auth.fetch]\nallow_private = true\n"):
        assert not any("auth.key_dir" in each for each in folder.load(text + kept).warnings)
    assert not any(
        "key_dir" in each for each in folder.load(text.replace("http:", "https:")).warnings
    )


@pytest.mark.parametrize(
    ("address", "is_told"),
    [("0.0.0.0:1", True), ("[::]:1", True), ("127.0.0.1:1", False), ("[::1]:1", False)],
)
def test_that_others_may_read_the_numbers_is_told(folder, address, is_told):
    loaded = folder.load(f'[internal]\nlisten = "{address}"\n{OPEN}')
    told = [each for each in loaded.warnings if "internal.listen" in each]
    why = "others may read /health, /metrics and /nodes there, without a token"
    assert [each.partition("internal.listen: ")[2] for each in told] == [why] * is_told


@pytest.mark.parametrize("written", ['key = "conf/v1.jwk"', 'keys = ["conf/v1.jwk"]'])
def test_a_file_where_the_relay_is_started_is_not_taken_and_the_refusal_says_so(
    tmp_path, monkeypatch, written
):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/v1.jwk").write_bytes(generate("ES256", "v1").public().dump())
    (tmp_path / "conf/relay.toml").write_text(f"[auth]\n{written}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(File("conf/relay.toml"), {}, {})
    (line,) = str(caught.value).splitlines()
    assert "no such file: conf/conf/v1.jwk; names are relative to the folder" in line
    (tmp_path / "conf/relay.toml").write_text('[auth]\nkey = "v1.jwk"\n')
    assert load(File("conf/relay.toml"), {}, {}).settings.auth.key == "conf/v1.jwk"


def test_everything_may_be_public_by_a_variable_too(folder):
    (told,) = folder.complaints("", {"MOQ_AUTH_PUBLIC": ""})
    assert told.endswith('in a variable, where nothing says nothing, [""])')
    assert folder.load("", {"MOQ_AUTH_PUBLIC": '[""]'}).settings.auth.public.publish == ("",)
