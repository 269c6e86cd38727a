"""Ports for servers that cannot bind port 0 and tell which it is."""

import errno
import socket


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ended(said):
    """The error of a server that could not start, by what it has said."""
    if "Address already in use" in said:
        return OSError(errno.EADDRINUSE, said)
    return RuntimeError(said)


def on_free_port(start):
    """What start(port) returns: of another port, if that one was taken."""
    for _ in range(9):
        try:
            return start(free_port())
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
    raise RuntimeError("no port stays free")
