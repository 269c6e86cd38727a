/* engine/input_hook.c - what goes on while somebody types at Python's prompt.
 */
#include "engine/input_hook.h"

#include <errno.h>
#ifndef _WIN32
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#else
#include <pthread.h>
#endif
#endif

/* Of the process, as PyOS_InputHook is. */
static struct {
    PyObject *function;   /* what is called; NULL: ours is not in place */
    unsigned long thread; /* in which it was set */
    int (*below)(void);   /* what was in place before; or NULL */
    bool is_editor;       /* it is called by Python code */
    bool interrupting;    /* readline is to be interrupted, and was not yet */
    int real_input;       /* stdin, while a key there is replaced; or -1 */
    int writer;           /* ... the end of the pipe that is not read */
} hook = {.real_input = -1};

#ifndef _WIN32

/* What glibc has newer symbols for, on Linux without glibc: else a wheel would
 * not run where glibc is older than that of the machine which has built it. */
#ifdef __linux__

static void *
this_thread(void)
{
    return (void *)syscall(SYS_gettid);
}

static void
interrupt(void *thread)
{
    syscall(SYS_tgkill, getpid(), (pid_t)(intptr_t)thread, SIGINT);
}

static void
set_signal_mask(const sigset_t *mask, sigset_t *before)
{
    sigprocmask(SIG_SETMASK, mask, before); /* of this thread, on Linux */
}

static int
duplicate(int fd)
{
    return (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
}

#else

static void *
this_thread(void)
{
    return (void *)pthread_self();
}

static void
interrupt(void *thread)
{
    pthread_kill((pthread_t)thread, SIGINT);
}

static void
set_signal_mask(const sigset_t *mask, sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, mask, before);
}

static int
duplicate(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

#endif

static atomic_bool is_coming; /* a SIGINT of ours, in a moment */

/* Runs in a thread of its own: the other one has come to wait by now. */
static void
interrupt_waiting(void *thread)
{
    struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
    nanosleep(&pause, NULL);
    interrupt(thread);
    atomic_store(&is_coming, false);
}

/* Have readline, which comes to wait for a key as soon as the hook returns, be
 * interrupted by SIGINT there: it asks for signals at no other time. */
static void
interrupt_soon(void)
{
    if (atomic_exchange(&is_coming, true)) {
        return; /* one is enough: a second one would be for the next line */
    }
    sigset_t all, before;
    PyGILState_STATE gil = PyGILState_Ensure(); /* Python's threads want it */
    sigfillset(&all);
    set_signal_mask(&all, &before);
    if (PyThread_start_new_thread(interrupt_waiting, this_thread()) ==
        PYTHREAD_INVALID_THREAD_ID) {
        atomic_store(&is_coming, false);
    }
    set_signal_mask(&before, NULL);
    PyGILState_Release(gil);
}

static bool
is_readable(int fd)
{
    struct pollfd asked = {.fd = fd, .events = POLLIN};
    return poll(&asked, 1, 0) > 0;
}

/* Have this one byte be all that can be read from stdin: *saved is the real
 * one, *writer what keeps the fake one from being at its end. */
static int
fake_input(const char *byte, int *saved, int *writer)
{
    int ends[2];
    if (pipe(ends) < 0) {
        return -1;
    }
    *saved = duplicate(STDIN_FILENO);
    *writer = duplicate(ends[1]);
    bool done = *saved >= 0 && *writer >= 0 && write(*writer, byte, 1) == 1 &&
                dup2(ends[0], STDIN_FILENO) >= 0;
    close(ends[0]);
    close(ends[1]);
    if (!done) {
        close(*saved); /* either may be -1 */
        close(*writer);
    }
    return done ? 0 : -1;
}

static void
restore_input(int saved)
{
    dup2(saved, STDIN_FILENO);
    close(saved);
}

/* A terminal drops what was typed before Ctrl-C, and before other such keys;
 * but the key that readline has seen there, it goes and reads.  So it finds
 * one that no editor of lines shows. */
static void
replace_dropped_key(void)
{
    int saved;
    if (hook.real_input < 0 && !is_readable(STDIN_FILENO) &&
        fake_input("", &saved, &hook.writer) == 0) {
        hook.real_input = saved;
    }
}

static void
restore_dropped_key(void)
{
    if (hook.real_input >= 0) {
        restore_input(hook.real_input);
        close(hook.writer);
        hook.real_input = -1;
    }
}

int
twr_input_hook_call_below(void)
{
    int saved, writer, result = -1;
    int (*below)(void) = hook.below;
    /* What a GUI's hook waits for is something to read.  Should a callback of
     * the GUI read it, it finds an empty line, and the end. */
    if (below != NULL && fake_input("\n", &saved, &writer) == 0) {
        close(writer);
        Py_BEGIN_ALLOW_THREADS below();
        Py_END_ALLOW_THREADS restore_input(saved);
        result = 0;
    }
    return result;
}

#else

static void
interrupt_soon(void)
{
    PyErr_SetInterrupt();
}

static bool
is_readable(int Py_UNUSED(fd))
{
    return false;
}

static void
replace_dropped_key(void)
{
}

static void
restore_dropped_key(void)
{
}

int
twr_input_hook_call_below(void)
{
    return -1;
}

#endif

/* Call the function; whether Ctrl-C has been typed. */
static bool
call_function(void)
{
    PyObject *function = Py_NewRef(hook.function);
    PyObject *result = PyObject_CallNoArgs(function);
    bool interrupted = result == Py_True;
    if (result == NULL && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear(); /* it came before the function could catch it */
        interrupted = true;
    }
    else if (result == NULL) {
        PyErr_WriteUnraisable(function);
    }
    Py_XDECREF(result);
    Py_DECREF(function);
    return interrupted;
}

/* Call the function, and pass on Ctrl-C. */
static void
call_and_pass_on(void)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    bool interrupted = hook.function != NULL && call_function();
    PyGILState_Release(gil);
    if (interrupted && hook.is_editor) {
        PyErr_SetInterrupt();
    }
    hook.interrupting = interrupted && !hook.is_editor;
}

/* What PyOS_InputHook is.  readline calls it after each wait for a key, be it
 * one that a signal has interrupted: then that comes first. */
static int
run_hook(void)
{
    bool interrupted = errno == EINTR;
    if (hook.thread != PyThread_get_thread_ident()) {
        return 0;
    }
    bool has_fake_key = hook.real_input >= 0 && is_readable(STDIN_FILENO);
    if (!has_fake_key) {
        restore_dropped_key();
    }
    if (interrupted) {
        hook.interrupting = false;
    }
    else if (!hook.interrupting && !has_fake_key) {
        bool had_key = is_readable(STDIN_FILENO);
        call_and_pass_on();
        if (had_key || hook.interrupting) { /* it may have seen one before */
            replace_dropped_key();
        }
    }
    if (hook.interrupting) { /* again, if it came too early */
        interrupt_soon();
    }
    errno = 0;
    return 0;
}

void
twr_input_hook_set(PyObject *function, bool is_editor)
{
    if (function != NULL && PyOS_InputHook != run_hook) {
        hook.below = PyOS_InputHook;
        PyOS_InputHook = run_hook;
    }
    else if (function == NULL && PyOS_InputHook == run_hook) {
        PyOS_InputHook = hook.below;
    }
    hook.thread = PyThread_get_thread_ident();
    hook.is_editor = is_editor;
    hook.interrupting = false;
    restore_dropped_key();
    Py_XSETREF(hook.function, Py_XNewRef(function));
    errno = 0;
}

bool
twr_input_hook_has_below(void)
{
    return hook.below != NULL;
}
