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

/* The interpreter has ended, and with it all that was watched. */
static void
forget_all(void)
{
    watches = NULL;
    watcher = -1;
}

int
twr_watch_begin(TwrWatch *watch, PyObject *dict)
{
    if (watcher < 0) {
        watcher = PyDict_AddWatcher(note_change);
        if (watcher >= 0 && Py_AtExit(forget_all) < 0) {
            PyErr_SetString(PyExc_RuntimeError, "no room for Py_AtExit");
            return -1;
        }
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

/* Whether a watch over the dictionary of instance sees that an attribute is
 * given another value. */
static int
sees_attribute(PyObject *instance)
{
    static TwrWatch watch; /* out of the list again at the end */
    PyObject *dict = PyObject_GetAttrString(instance, "__dict__");
    if (dict == NULL || twr_watch_begin(&watch, dict) < 0) {
        Py_XDECREF(dict);
        return -1;
    }
    twr_watch_note(&watch);
    int sees = PyObject_SetAttrString(instance, "attribute", Py_True);
    if (sees == 0) {
        sees = !twr_watch_is_unchanged(&watch);
    }
    twr_watch_end(&watch);
    Py_DECREF(dict);
    return sees;
}

int
twr_watch_sees_attributes(void)
{
    int sees = -1;
    PyObject *type =
        PyObject_CallFunction((PyObject *)&PyType_Type, "s(){}", "Probe");
    PyObject *instance = type == NULL ? NULL : PyObject_CallNoArgs(type);
    if (instance != NULL &&
        PyObject_SetAttrString(instance, "attribute", Py_False) == 0) {
        sees = sees_attribute(instance);
    }
    Py_XDECREF(instance);
    Py_XDECREF(type);
    return sees;
}
