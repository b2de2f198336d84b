"""Which signals end a process of ours in good order, and which must not. Must not know what it does
then."""

from __future__ import annotations

import asyncio
import signal


def endings() -> tuple[signal.Signals, ...]:
    """SIGTERM and SIGINT, and SIGHUP as well, which else would end the process without a goodbye;
    but who started it with that ignored, as ``nohup`` does, wants it to stay."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGTERM, signal.SIGINT
    return signal.SIGTERM, signal.SIGINT, signal.SIGHUP


def are_over() -> None:
    """All is done that the running loop had to do on these signals: more of them change nothing.
    Once the loop is closed they would end the process, with a status as if it had been killed."""
    loop, numbers = asyncio.get_running_loop(), endings()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)


def pass_over() -> None:
    """Do nothing on SIGUSR1, which told some releases of moq-relay of renewed certificates, and
    else would end the process without a goodbye: files are followed here."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
