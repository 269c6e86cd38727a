"""`make asan` tests what it says."""

import os
from pathlib import Path

import pytest

from tworoutine import _core

pytestmark = pytest.mark.skipif(
    "TWR_SANITIZE" not in os.environ, reason="for `make asan`"
)


def is_sanitized(path):
    return b"__asan_init" in Path(path).read_bytes()


def test_the_core_is_sanitized():
    assert is_sanitized(_core.__file__)


def test_so_is_that_of_the_programs(program):
    path = program("from tworoutine import _core\nprint(_core.__file__)")
    assert is_sanitized(path.strip())
