"""A PostgreSQL for a test, of this machine's programs, where it has them."""

import contextlib
import glob
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from ports import ended, on_free_port


@contextlib.contextmanager
def postgres():
    """The port of one, whose data goes with it.

    They are not in a folder of pytest's, which closes those to other users.
    """
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pg_ctl"))
    if not found:
        pytest.skip("no PostgreSQL")
    with (
        tempfile.TemporaryDirectory() as folder,
        running(found[-1], folder) as port,
    ):
        yield port


@contextlib.contextmanager
def running(pg_ctl, folder):
    as_user = []
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(program, *args):
        subprocess.run(
            [*as_user, Path(pg_ctl).with_name(program), *args],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    data, log = f"{folder}/data", f"{folder}/log"

    def start(port):
        options = f"-p {port} -h 127.0.0.1 -k {folder} -F -c lc_messages=C"
        try:
            run("pg_ctl", "-D", data, "-w", "-o", options, "-l", log, "start")
        except subprocess.CalledProcessError as exc:
            raise ended(Path(log).read_text()) from exc
        return port

    run("initdb", "-D", data, "-A", "trust", "-N", "-U", "postgres")
    port = on_free_port(start)
    try:
        yield port
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
