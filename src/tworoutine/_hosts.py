"""Threads that others run: gevent, Twisted, Django's asgiref.

Each is asked only if it has been imported; what is known of it is in a file
of its own.
"""

import sys


def find_backend(loop):
    """What serves a call made here, if gevent or Twisted runs this thread.

    loop: the running one, or None.  What is returned: core/backends/others.c.
    """
    hub = _gevent_hub() if "gevent.hub" in sys.modules else None
    if hub is not None:
        from tworoutine import _gevent

        return _gevent.find_backend(hub, loop)
    if loop is None and "twisted.internet.reactor" in sys.modules:
        from tworoutine import twisted

        return twisted._find_backend()
    return None


def _gevent_hub():
    """The hub of this thread, if it has one or is going to get one."""
    hub = sys.modules["gevent._hub_local"].get_hub_if_exists()
    if hub is None and "gevent.monkey" in sys.modules:
        from gevent.monkey import is_module_patched

        if is_module_patched("select"):
            hub = sys.modules["gevent._hub_local"].get_hub()
    return hub


def take_greenlets_for_threads(loop):
    """Where gevent has patched threading, have loop put up with that."""
    if "gevent.thread" in sys.modules:
        from tworoutine import _gevent

        _gevent.take_greenlets_for_threads(loop)


def end_calls(loop):
    """End the calls that wait in loop by gevent, since its thread ends.

    Returns whether they have ended, and so does not run any more.
    """
    if "tworoutine._gevent" not in sys.modules:
        return True
    return sys.modules["tworoutine._gevent"].end_calls(loop)


def adapt(coro, loop):
    """coro, of which a task of loop is made, where Twisted is imported."""
    if "twisted.internet.asyncioreactor" not in sys.modules:
        return coro
    from tworoutine import twisted

    return twisted._adapt(coro, loop)


def for_asgiref(loop):
    """Where asgiref is: see _asgiref; what undoes it, or None.

    loop: that a call is about to run in this thread.
    """
    known = asgiref()
    return known.begin(loop) if known else None


def asgiref():
    """Our module about asgiref, where that has been imported, or None."""
    if "asgiref.sync" not in sys.modules:
        return None
    from tworoutine import _asgiref

    return _asgiref
