"""Owns ports on loopback: a free one, whether one is in use, and whether a process tree is the one that listens."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress

import psutil

from kvbench.errors import UsageError

HOST = "127.0.0.1"


def free_port() -> int:
    """A port on loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def require_free(port: int) -> None:
    """Raises UsageError where somebody listens on `port`: what answers there is not the server to be measured."""
    with socket.socket() as probe:
        # A connection that has just ended does not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"--port {port}: port in use, or not to be had ({error.strerror}); leave --port out to take a free one"
            ) from None


def listens(tree: Iterable[psutil.Process], port: int) -> bool:
    """Whether one of these processes listens on `port`, so that what answers there is theirs."""
    for process in tree:
        with suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return True
    return False
