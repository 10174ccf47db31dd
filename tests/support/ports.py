"""Ports for processes that a test starts."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a port of this machine that nothing listens at.

    It is below those that the system gives to connections by itself, from 32768 on: no other test gets it by chance
    between this call and the start of the process that is to listen.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
