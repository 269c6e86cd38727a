/* base/facts.h - what is found out at import about this Python's asyncio. */
#ifndef TWR_FACTS_STRUCTS_H
#define TWR_FACTS_STRUCTS_H

#include "twr.h"

/* What asyncio/facts.c finds out about this Python's loops.  If why_not is
 * set, any of the others may be NULL, but for handle_run_codes. */
typedef struct {
    PyObject *why_not;          /* str: why no loop can be driven; or NULL */
    PyObject *run_once;         /* BaseEventLoop._run_once, as imported */
    PyObject *run_once_code;    /* ... and its code object */
    PyObject *run_forever;      /* BaseEventLoop.run_forever, as imported */
    PyObject *run_forever_code; /* ... and its code object */
    PyObject *run_until_complete_code;
    PyObject *handle_run_codes;  /* list: the code of each type's _run() */
    PyObject *nest_once_code;    /* of nest_asyncio's _run_once; or NULL */
    PyObject *nest_forever_code; /* of nest_asyncio's run_forever; or NULL */
    PyObject *nest_until_code;   /* ... run_until_complete; or NULL */
    PyObject *tasks_file;        /* co_filename of asyncio.tasks; or NULL */
    Py_ssize_t min_timers;       /* more timers: cancelled ones are weeded */
    double max_cancelled;        /* ... if they are more than this share */
    double max_select;           /* seconds that a selector may wait */
} TwrLoopFacts;

/* A C function, to be called past its type: base/direct.h. */
typedef struct {
    PyObject *callable; /* what is called; NULL: there is none */
    PyCFunction code;   /* what that runs; NULL: to be called as any object */
    PyObject *self;     /* its first argument; borrowed */
} TwrDirect;

/* What asyncio/task_fields.c finds out about this Python's tasks. */
typedef struct {
    PyObject *why_not;       /* str: why no C task can be parked; or NULL */
    PyTypeObject *step_type; /* of what a C task has called for a step, or
                              * NULL; ... */
    Py_ssize_t step_task_at; /* ... and the offset of the task in that */
    Py_ssize_t coro_at;      /* offset of task_coro in a C task */
    Py_ssize_t waiter_at;    /* ... of task_fut_waiter */
    Py_ssize_t must_at;      /* offset of the byte of task_must_cancel */
    unsigned char must_mask; /* the bit of task_must_cancel in that byte */
    PyObject *current_tasks; /* the dictionary; 3.14+: of Python tasks */
    struct {                 /* what was last found there; all borrowed: */
        uint64_t tag; /* as long as this is the dictionary's twr_dict_tag() */
        PyObject *loop;
        PyObject *task;
    } seen;
    TwrDirect current_task;  /* 3.14+: asyncio.current_task */
    PyObject *py_enter_task; /* 3.14+: enters a task written in Python */
    PyObject *py_leave_task; /* 3.14+: leaves a task written in Python */
    PyObject *below;       /* dict: of tasks in C left below such, by these */
    PyObject *eager_tasks; /* 3.12, 3.13: the set of those in a first step */
    PyObject *add_awaited_by;     /* 3.14+: notes who awaits whom; or NULL */
    PyObject *discard_awaited_by; /* 3.14+: undoes that; or NULL */
} TwrTaskFacts;

/* What asyncio/quick.c finds out about this Python's types. */
typedef struct {
    bool sees_attributes;    /* twr_watch_sees_attributes() */
    bool is_known;           /* all that follows has been found */
    PyTypeObject *handle;    /* asyncio.events.Handle */
    PyTypeObject *timer;     /* ... TimerHandle */
    unsigned handle_version; /* version tags, as they were at import */
    unsigned timer_version;
    unsigned selector_version;
    Py_ssize_t callback_at; /* offsets of slots in a handle */
    Py_ssize_t args_at;
    Py_ssize_t context_at;
    Py_ssize_t cancelled_at;
    Py_ssize_t when_at;  /* in a timer */
    PyObject *time;      /* BaseEventLoop's, which calls ... */
    PyObject *monotonic; /* time.monotonic, found in ... */
    PyObject *time_dict; /* the dictionary of that module */
    PyTypeObject *deque; /* collections.deque, and its methods in C */
    PyCFunction popleft;
    PyCFunction append;
    PyCFunction appendleft;
    PyTypeObject *selector;        /* selectors.EpollSelector */
    PyTypeObject *epoll;           /* select.epoll */
    PyObject *process_events;      /* BaseSelectorEventLoop's */
    PyObject *call_soon;           /* BaseEventLoop's */
    PyObject *call_soon_unchecked; /* its _call_soon */
    PyObject *setup;               /* 3.13+: its _run_forever_setup; or NULL */
    PyObject *cleanup;             /* ... and _run_forever_cleanup */
    PyObject *run; /* a function that looks like Handle._run(); or NULL */
} TwrQuickFacts;

/* The types of ours, each made from the spec of its file. */
typedef struct {
    PyTypeObject *tworoutine;        /* face/tworoutine.c */
    PyTypeObject *tworoutine_object; /* ... over what is no function */
    PyTypeObject *doc;               /* face/methods.c */
    PyTypeObject *dual;              /* face/dual_type.c */
    PyTypeObject *special;           /* face/special.c */
    PyTypeObject *generator;         /* face/generator.c */
    PyTypeObject *manager;           /* face/manager.c */
    PyTypeObject *portal;            /* backends/portal_type.c */
    PyTypeObject *thread;            /* end.c */
    PyTypeObject *driven;            /* engine/drives.c */
    PyTypeObject *marker;            /* engine/marker.c */
    PyTypeObject *call;              /* engine/call.c */
    PyTypeObject *awaiting;          /* coro/awaiting_type.c */
    PyTypeObject *slow_limit;        /* asyncio/debug.c */
} TwrTypes;

/* Names of keyword arguments, as tuples for vectorcall. */
typedef struct {
    PyObject *context; /* ("context",) */
    PyObject *msg;     /* ("msg",) */
    PyObject *task;    /* ("loop", "context") */
} TwrKeywords;

#endif
