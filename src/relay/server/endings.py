"""Which signals end a process of ours in good order, and which must not. Must not know what it does
then."""

from __future__ import annotations

import signal


def endings() -> tuple[signal.Signals, ...]:
    """SIGTERM and SIGINT, and SIGHUP as well, which else would end the process without a goodbye;
    but who started it with that ignored, as ``nohup`` does, wants it to stay."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGTERM, signal.SIGINT
    return signal.SIGTERM, signal.SIGINT, signal.SIGHUP


def pass_over() -> None:
    """Do nothing on SIGUSR1, which told some releases of moq-relay of renewed certificates, and
    else would end the process without a goodbye: files are followed here."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
