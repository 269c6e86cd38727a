/* base/watch.c - whether a dictionary has changed since it was looked at. */
#include "base/watch.h"

#include "base/list.h"

#if TWR_DICT_WATCHERS

/* All watches of the process, the latest first. */
static TwrWatch *watches;

/* The number of our watcher; -1: not asked for yet. */
static int watcher = -1;

static int
note_change(PyDict_WatchEvent Py_UNUSED(event), PyObject *dict,
            PyObject *Py_UNUSED(key), PyObject *Py_UNUSED(value))
{
    for (TwrWatch *watch = watches; watch != NULL; watch = watch->older) {
        if (watch->dict == dict) {
            watch->unchanged = false;
        }
    }
    return 0;
}

int
twr_watch_begin(TwrWatch *watch, PyObject *dict)
{
    if (watcher < 0) {
        watcher = PyDict_AddWatcher(note_change);
    }
    if (watcher < 0 || PyDict_Watch(watcher, dict) < 0) {
        return -1;
    }
    *watch = (TwrWatch){.dict = dict};
    TWR_LIST_ADD(&watches, watch);
    return 0;
}

void
twr_watch_end(TwrWatch *watch)
{
    PyObject *dict = watch->dict;
    TWR_LIST_REMOVE(watch);
    watch->dict = NULL;
    TwrWatch *other = watches;
    while (other != NULL && other->dict != dict) {
        other = other->older;
    }
    if (dict != NULL && other == NULL && PyDict_Unwatch(watcher, dict) < 0) {
        PyErr_Clear(); /* told in vain from now on */
    }
}

#else

int
twr_watch_begin(TwrWatch *watch, PyObject *dict)
{
    *watch = (TwrWatch){.dict = dict};
    return 0;
}

void
twr_watch_end(TwrWatch *watch)
{
    watch->dict = NULL;
}

#endif
