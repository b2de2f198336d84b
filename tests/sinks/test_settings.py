"""What the operator may say about a sink."""

from __future__ import annotations

import pytest

from relay.config import load
from relay.errors import ConfigError

GOOD = 'kind = "kafka"\nbrokers = ["b:9092"]\ntracks = ["a/**:t"]\n'


def read(tmp_path, text):
    file = tmp_path / "relay.toml"
    file.write_text('[auth]\npublic = "anon"\n' + text)
    return load(file, {}, {}).settings.sinks


def test_files_stand_beside_the_settings(tmp_path):
    sasl = 'sasl = { mechanism = "PLAIN", username = "u", password_file = "pw" }\n'
    sinks = read(tmp_path, f'[sinks.lake]\n{GOOD}{sasl}tls = {{ root = "ca.pem" }}\n')
    assert sinks["lake"].tls.root == tmp_path / "ca.pem"
    assert sinks["lake"].sasl.password_file == tmp_path / "pw"
    assert (sinks["lake"].acks, sinks["lake"].topic) == ("all", "{tenant}.{track}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[sinks.x]\nkind = "file"\nbrokers = ["b:1"]\ntracks = ["a:t"]\n', "sinks.x.kind"),
        ('[sinks.x]\nkind = "kafka"\ntracks = ["a:t"]\n', "needs brokers"),
        ('[sinks.x]\nkind = "kafka"\nbrokers = ["b"]\ntracks = ["a:t"]\n', "host:port"),
        ('[sinks.x]\nkind = "kafka"\nbrokers = ["b:1"]\ntracks = ["a"]\n', "broadcasts:track"),
        (f'[sinks.x]\n{GOOD}topic = "{{user}}"\n', "{broadcast}"),
        (f'[sinks.x]\n{GOOD}topic = "a b"\n', "{broadcast}"),
        (f"[sinks.x]\n{GOOD}retries = 3\n", "no such setting: retries"),
        (f'[sinks.x]\n{GOOD}sasl = {{ mechanism = "PLAIN", username = "u" }}\n', "password_env"),
        (
            f'[sinks.x]\n{GOOD}sasl = {{ mechanism = "PLAIN", username = "u", password = "p" }}\n',
            "no such setting: password",
        ),
    ],
)
def test_what_cannot_be_obeyed_is_named(tmp_path, text, said):
    with pytest.raises(ConfigError, match=r"relay\.toml:[0-9]+: sinks\.x") as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
