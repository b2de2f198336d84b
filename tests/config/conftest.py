"""A folder with a configuration file in it, and a short way to load it."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.config import Loaded, load
from relay.errors import ConfigError


class Folder:
    """Where an operator keeps his files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.toml = path / "relay.toml"

    def write(self, name: str, text: str = "x", mode: int = 0o600) -> Path:
        file = self.path / name
        file.write_text(text)
        file.chmod(mode)
        return file

    def load(self, text: str, environ: dict[str, str] | None = None, **flags: object) -> Loaded:
        self.toml.write_text(text)
        return load(self.toml, {k.replace("__", "."): v for k, v in flags.items()}, environ or {})

    def complaints(self, text: str, environ: dict[str, str] | None = None) -> list[str]:
        """The lines of the refusal, without the folder's own name."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, environ)
        return str(caught.value).replace(f"{self.path}/", "").splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
