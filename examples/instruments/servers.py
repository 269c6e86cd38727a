"""Servers for the examples: programs of their own, on this machine."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

# Where Debian puts what is not on PATH.
FOLDERS = [
    "/usr/sbin",
    *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin"))),
]


def find(program):
    """The path of a program; SystemExit if it is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *FOLDERS])
    if found := shutil.which(program, path=path):
        return found
    raise SystemExit(f"not installed: {program}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(program, *options, **popen):
    """Run a program, "{port}" in whose options is a free one; give that."""
    port = free_port()
    command = [find(program), *(each.format(port=port) for each in options)]
    popen = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    } | popen
    with subprocess.Popen(command, **popen) as server:
        try:
            wait_for(port, server)
            yield port
        finally:
            server.terminate()


def wait_for(port, server):
    end = time.monotonic() + 20
    while time.monotonic() < end and server.poll() is None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=1),
        ):
            return
        time.sleep(0.05)
    raise SystemExit(f"{server.args[0]} does not answer on port {port}")


@contextlib.contextmanager
def postgres():
    """A database of its own, which is gone afterwards; its port."""
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        user = {"user": "postgres"} if os.getuid() == 0 else {}
        if user:  # the server refuses to be root
            shutil.chown(folder, "postgres")
        initdb = [find("initdb"), "-A", "trust", "-U", "postgres", data]
        subprocess.run(
            initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user
        )
        options = ["-D", data, "-p", "{port}", "-h", "127.0.0.1", "-k", folder]
        with running("postgres", *options, cwd=folder, **user) as port:
            yield port
