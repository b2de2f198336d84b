"""The folder where the workers of one relay meet: their sockets, and what all of them share.

The law: it goes when the relay does, and where a relay was killed the next one of the same user
removes it, for a private key may be in it. Its lock (flock) says that it is in use, to others who
clear up as well (tmpfiles.d). This module must not know what the workers do there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path as File

from relay.errors import ConfigError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

PREFIX = "relay-"

MARK = "crew"
"""A file that says who made the folder."""

MAX_FOLDER = 90
"""Characters of the folder's name: a socket's whole name has at most 107."""


@contextlib.contextmanager
def own_folder() -> Iterator[File]:
    """A folder that nobody else may enter. Raises `ConfigError`."""
    try:
        remove_left(File(tempfile.gettempdir()))
        made = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"server.workers: no folder for sockets: {why}: TMPDIR") from None
    with made as name, _locked(File(name)) as is_locked:
        if len(name) > MAX_FOLDER:
            raise ConfigError(f"server.workers: {name} is too long a name for sockets: TMPDIR")
        if is_locked:  # before it is marked, so that it never seems to be left
            with contextlib.suppress(OSError):  # a full disk: others will say so
                (File(name) / MARK).touch()
        yield File(name)


def remove_left(place: File) -> None:
    """Remove the folders in ``place`` that relays of this user left."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if not _is_ours(folder):
                continue
            with _locked(folder) as is_left:
                if is_left:
                    shutil.rmtree(folder)


def _is_ours(folder: File) -> bool:
    """Whether a relay of this user made it. Raises `OSError`."""
    found = folder.lstat()
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return is_own and (folder / MARK).exists()


@contextlib.contextmanager
def _locked(folder: File) -> Iterator[bool]:
    """Hold its lock meanwhile; answers whether it is held. Raises `OSError`."""
    number = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(number)
    finally:
        os.close(number)


def _lock(number: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody else has it, or the file system knows none
        return False
    return True
