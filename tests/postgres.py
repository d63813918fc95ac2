"""Start a real PostgreSQL server from Debian's packages, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Yield the URL of an empty database; skip the test, saying why, where no server can be had."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'foldline[postgres]'")
    tools = _tools()
    # Not under tmp_path, which only its owner may enter: as root the server runs as another user.
    with tempfile.TemporaryDirectory(prefix="foldline-pg-") as folder:
        data, port = Path(folder) / "data", _free_port()
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        _call(tools / "initdb", "-D", data, "-A", "trust", "-U", "foldline")
        _call(tools / "pg_ctl", "-D", data, "-o", options, "-l", f"{folder}/log", "-w", "start")
        try:
            yield f"postgresql+psycopg://foldline@127.0.0.1:{port}/postgres"
        finally:
            _call(tools / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def _tools() -> Path:
    """Return the folder of initdb and pg_ctl, installed if need be."""
    found = _look()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "postgresql"], capture_output=True, timeout=300)
        found = _look()
    if found is None:
        pytest.skip("PostgreSQL is not installed and cannot be: apt-get install postgresql")
    return found


def _look() -> Path | None:
    places = [Path(found).resolve().parent] if (found := shutil.which("initdb")) else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").is_file() and (place / "pg_ctl").is_file()), None)


def _call(*command: object) -> None:
    """Run a tool, as root in the name of `postgres`: the server refuses to run as root."""
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        words = ["runuser", "-u", "postgres", "--", *words]
    # No pipes: the server would keep them open after pg_ctl has ended.
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
