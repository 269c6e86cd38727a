"""A short run of tools/storm.py: programs that end while calls wait."""

import importlib.util
import pathlib

import pytest

PATH = pathlib.Path(__file__).parent.parent / "tools" / "storm.py"
if not PATH.exists():
    pytest.skip("a source tree alone has tools", allow_module_level=True)
_spec = importlib.util.spec_from_file_location("storm", PATH)
storm = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(storm)


def test_storm():
    unknown, _ = storm.storm(30)
    assert "\n".join(map(storm.describe, unknown)) == ""


def test_a_difference_is_seen():
    """It would be: in the exit status, in what is printed, in complaints."""
    program = storm.Program(0)
    well = storm.outcome("print(1)")
    assert well == (0, ["1"], [], "")
    for other in ("print(2)", "print(1); exit(3)", "print(1); 1 / 0"):
        differs = storm.outcome(other)
        assert differs[:3] != well[:3]
        assert storm.explanation(program, differs, well) is None
