"""The tests of test_django.py, on a real PostgreSQL.

Tried where Django, psycopg and the server are found: pip install '.[duals]'.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from postgres import postgres

pytest.importorskip("django", reason="needs Django")
pytest.importorskip("psycopg", reason="needs psycopg")


def test_on_postgres():
    tests = Path(__file__).with_name("test_django.py")
    with postgres() as port:
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rs", tests],
            env=os.environ | {"DJANGO_POSTGRES": str(port)},
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert ran.returncode == 0, ran.stdout
    assert "skipped" not in ran.stdout
