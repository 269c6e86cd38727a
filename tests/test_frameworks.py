"""Frameworks that want a function are given a tworoutine: their own code runs.

What they look at (``__code__``, ``__func__``, ``__annotate__``) has its tests
in test_metadata.py and test_binding.py.
"""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import typing
import weakref
from unittest import mock

import celery
import celery.utils.dispatch
import click.testing
import django.dispatch
import fastapi
import httpx
import hypothesis
import hypothesis.stateful
import invoke
import pluggy
import pytest
import typer.testing
from hypothesis import strategies as st

from tworoutine import tworoutine


@tworoutine
async def add(x: int, y: int = 1) -> int:
    """Add up."""
    await asyncio.sleep(0)
    return x + y


# --- registries of callbacks ------------------------------------------------


class Panel:
    def __init__(self):
        self.got = []

    @tworoutine
    async def changed(self, *args, **kwargs):
        await asyncio.sleep(0)
        self.got.append(self)

    @tworoutine
    @classmethod
    async def of_class(cls, *args, **kwargs):
        await asyncio.sleep(0)
        LAST.append(cls)


LAST = []


def django_signal(method):
    signal = django.dispatch.Signal()
    signal.connect(method)
    return lambda: signal.send("sender")


def celery_signal(method):
    signal = celery.utils.dispatch.Signal(providing_args=set())
    signal.connect(method)
    return lambda: signal.send("sender")


def matplotlib_callbacks(method):
    cbook = pytest.importorskip(
        "matplotlib.cbook", reason="matplotlib is too heavy for each run"
    )
    registry = cbook.CallbackRegistry(exception_handler=None)
    registry.connect("event", method)
    return lambda: registry.process("event", 1)


def weak_method(method):
    reference = weakref.WeakMethod(method)

    def send():
        function = reference()
        if function is not None:
            function(1)

    return send


REGISTRIES = pytest.mark.parametrize(
    "connect",
    [weak_method, django_signal, celery_signal, matplotlib_callbacks],
)


@REGISTRIES
def test_a_registry_of_callbacks_calls_a_bound_one(connect, place):
    panel = Panel()
    send = connect(panel.changed)
    gc.collect()  # the bound one is gone, the object is not
    place(send)
    assert panel.got == [panel]


@REGISTRIES
def test_and_does_not_keep_its_object_alive(connect):
    panel = Panel()
    send = connect(panel.changed)
    gone = weakref.ref(panel)
    del panel
    gc.collect()
    assert gone() is None
    send()


@REGISTRIES
def test_a_registry_of_callbacks_calls_a_classmethod(connect, place):
    LAST.clear()
    send = connect(Panel.of_class)
    gc.collect()
    place(send)
    assert [Panel] == LAST


# --- Celery -----------------------------------------------------------------


@pytest.fixture
def application():
    application = celery.Celery("tests", set_as_current=False)
    yield application
    application.close()


def test_a_task_of_celery(application):
    task = application.task(add, name="add")
    assert application.tasks["add"] is not None
    assert task(1, 2) == 3
    assert task.apply((1,)).get() == 2
    assert task.__doc__ == "Add up."


def test_a_bound_task_of_celery(application):
    @application.task(bind=True, name="named")
    @tworoutine
    async def named(self, x):
        await asyncio.sleep(0)
        return self.name, x

    assert named.apply((1,)).get() == ("named", 1)


def test_celery_checks_the_arguments(application):
    task = application.task(add, name="add")
    with pytest.raises(TypeError, match="missing 1 required"):
        task.apply_async(())


def test_celery_retries_a_task(application):
    tried = []

    @application.task(bind=True, name="flaky", max_retries=2)
    @tworoutine
    async def flaky(self):
        await asyncio.sleep(0)
        tried.append(self.request.retries)
        if len(tried) < 3:
            raise self.retry(countdown=0)
        return "at last"

    assert flaky.apply().get() == "at last"
    assert tried == [0, 1, 2]


# --- Hypothesis -------------------------------------------------------------

quick = hypothesis.settings(
    max_examples=20,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def test_given_above_a_tworoutine(place):
    seen = []

    @quick
    @hypothesis.given(st.integers(), st.text())
    @tworoutine
    async def property_of(x, y):
        await asyncio.sleep(0)
        seen.append((type(x), type(y)))

    place(property_of)
    assert set(seen) == {(int, str)}


def test_settings_below_given():
    seen = []

    @hypothesis.given(st.integers())
    @quick
    @tworoutine
    async def property_of(x):
        await asyncio.sleep(0)
        seen.append(x)

    property_of()
    assert len(seen) >= 10


def test_given_above_a_method():
    seen = []

    class Suite:
        @quick
        @hypothesis.given(st.data())
        @tworoutine
        async def property_of(self, data):
            await asyncio.sleep(0)
            seen.append(data.draw(st.integers()))

    Suite().property_of()
    assert len(seen) >= 10


def test_hypothesis_infers_strategies_from_annotations():
    seen = []

    @quick
    @hypothesis.given(...)
    @tworoutine
    async def property_of(x: int):
        await asyncio.sleep(0)
        seen.append(type(x))

    property_of()
    assert set(seen) == {int}


def test_what_fails_is_shrunk():
    @hypothesis.settings(quick, max_examples=200)
    @hypothesis.given(st.integers(0, 10**6))
    @tworoutine
    async def property_of(x):
        await asyncio.sleep(0)
        assert x < 1000

    with pytest.raises(AssertionError) as raised:
        property_of()
    assert "x=1000" in "".join(raised.value.__notes__)


def test_rules_of_a_state_machine():
    class Counter(hypothesis.stateful.RuleBasedStateMachine):
        n = 0

        @hypothesis.stateful.rule(x=st.integers(0))
        @tworoutine
        async def count(self, x):
            await asyncio.sleep(0)
            self.n += x

        @hypothesis.stateful.invariant()
        @tworoutine
        async def never_falls(self):
            await asyncio.sleep(0)
            ran.append(self.n)
            assert self.n >= 0

    ran = []
    hypothesis.stateful.run_state_machine_as_test(Counter, settings=quick)
    assert any(ran)


# --- pytest -----------------------------------------------------------------

PYTEST_MODULE = """
import asyncio
import pytest
from tworoutine import tworoutine

log = []


@pytest.fixture
@tworoutine
async def value():
    await asyncio.sleep(0)
    return 5


@pytest.fixture
@tworoutine
async def opened(value):
    await asyncio.sleep(0)
    yield value + 1
    await asyncio.sleep(0)
    log.append("closed")


@tworoutine
async def test_fixtures(value, opened):
    await asyncio.sleep(0)
    assert (value, opened, log) == (5, 6, [])


def test_the_end_of_a_fixture():
    assert log == ["closed"]


class TestOfAClass:
    @pytest.fixture
    @tworoutine
    async def own(self):
        await asyncio.sleep(0)
        yield self
        log.append("own")

    @tworoutine
    async def setup_method(self):
        await asyncio.sleep(0)
        self.ready = True

    @tworoutine
    async def test_method(self, own):
        await asyncio.sleep(0)
        assert own is self and self.ready

    def test_after_it(self):
        assert log == ["closed", "own"]


@pytest.mark.parametrize("n", [1, 2])
@tworoutine
async def test_parameters(n):
    await asyncio.sleep(0)
    assert n in (1, 2)


@tworoutine
async def test_that_fails():
    await asyncio.sleep(0)
    seen = 1
    assert seen == 2
"""


def run_pytest(folder, *args):
    command = [sys.executable, "-X", "dev", "-m", "pytest", "-W", "error"]
    ran = subprocess.run(
        [*command, "-p", "no:asyncio", "-p", "no:cacheprovider", *args],
        cwd=folder,
        env=os.environ | {"PY_COLORS": "0"},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert ran.stderr == ""
    return ran.stdout


def test_fixtures_and_tests_of_pytest(tmp_path):
    (tmp_path / "test_it.py").write_text(PYTEST_MODULE)
    out = run_pytest(tmp_path)
    assert "1 failed, 6 passed" in out
    assert "assert 1 == 2" in out  # the assertion is rewritten
    assert "never awaited" not in out


CONFTEST = """
import asyncio
from tworoutine import tworoutine


@staticmethod
@tworoutine
async def pytest_report_header(config):
    await asyncio.sleep(0)
    return f"header of {type(config).__name__}"
"""


def test_a_hook_of_pytest(tmp_path):
    """pluggy goes by the type of what it finds: staticmethod is one."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text("def test_nothing(): pass\n")
    assert "\nheader of Config\n" in run_pytest(tmp_path)


def test_a_hook_of_pluggy(place):
    spec = pluggy.HookspecMarker("tests")
    hook = pluggy.HookimplMarker("tests")

    class Spec:
        @spec
        def doubled(self, x, y):
            """Twice x."""

    class Plugin:
        @hook
        @staticmethod
        @tworoutine
        async def doubled(x):
            await asyncio.sleep(0)
            return 2 * x

    manager = pluggy.PluginManager("tests")
    manager.add_hookspecs(Spec)
    manager.register(Plugin())
    assert place(lambda: manager.hook.doubled(x=2, y=None)) == [4]


# --- commands ---------------------------------------------------------------


def test_a_command_of_click():
    @click.command()
    @click.argument("x", type=int)
    @click.option("--y", default=1)
    @tworoutine
    async def sum_up(x, y):
        """Add up."""
        await asyncio.sleep(0)
        click.echo(x + y)

    runner = click.testing.CliRunner()
    assert runner.invoke(sum_up, ["3", "--y", "4"]).output == "7\n"
    assert "Add up." in runner.invoke(sum_up, ["--help"]).output


def test_a_command_of_typer():
    application = typer.Typer()

    @application.command()
    @tworoutine
    async def sum_up(x: int, y: typing.Annotated[int, typer.Option()] = 1):
        """Add up."""
        await asyncio.sleep(0)
        typer.echo(x + y)

    runner = typer.testing.CliRunner()
    assert runner.invoke(application, ["3", "--y", "4"]).output == "7\n"
    assert "Add up." in runner.invoke(application, ["--help"]).output


def test_a_task_of_invoke():
    @invoke.task
    @tworoutine
    async def sum_up(context, x, y=1):
        """Add up."""
        await asyncio.sleep(0)
        results.append(int(x) + y)

    results = []
    program = invoke.Program(namespace=invoke.Collection(sum_up))
    program.run(["inv", "sum-up", "3", "-y", "4"], exit=False)
    assert results == [7]


# --- FastAPI ----------------------------------------------------------------


@tworoutine
async def connection():
    await asyncio.sleep(0)
    yield "open"
    CLOSED.append(True)


CLOSED = []


def test_fastapi_is_given_the_asynchronous_form():
    application = fastapi.FastAPI()
    application.get("/add")(~add)

    @application.get("/depends")
    async def depends(
        number: int = fastapi.Depends(~add),
        state: str = fastapi.Depends(~connection),
    ):
        return number, state, await (~add)(number), add(number)

    async def main():
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://tests"
        ) as client:
            answer = await client.get("/add?x=1&y=2")
            assert answer.json() == 3
            assert (await client.get("/add?x=one")).status_code == 422
            answer = await client.get("/depends?x=1")
            assert answer.json() == [2, "open", 3, 3]

    CLOSED.clear()
    asyncio.run(main())
    assert CLOSED == [True]


# --- unittest ---------------------------------------------------------------


def test_autospec_checks_the_arguments():
    double = mock.create_autospec(add, return_value=5)
    assert double(1, y=2) == 5
    with pytest.raises(TypeError, match="too many positional arguments"):
        double(1, 2, 3)
    double.assert_called_once_with(1, y=2)


def test_autospec_of_a_class():
    double = mock.create_autospec(Panel)
    panel = double()
    panel.changed(1)
    panel.changed.assert_called_once_with(1)
    assert not isinstance(panel.changed, mock.AsyncMock)


def test_unittest_runs_it(program):
    out = program(
        textwrap.dedent(
            """
            import asyncio
            import sys
            import unittest
            from tworoutine import tworoutine

            class Suite(unittest.TestCase):
                @tworoutine
                async def setUp(self):
                    await asyncio.sleep(0)
                    self.ready = True

                @tworoutine
                async def test_it(self):
                    await asyncio.sleep(0)
                    self.assertTrue(self.ready)
                    print("ran")

            suite = unittest.defaultTestLoader.loadTestsFromTestCase(Suite)
            result = unittest.TestResult()
            suite.run(result)
            print(result.testsRun, result.errors, result.failures)
            """
        )
    )
    assert out == "ran\n1 [] []\n"
