/* engine/input_hook.h - what goes on while somebody types at Python's prompt.
 *
 * readline, and the editor of lines that Python has since 3.13, call
 * PyOS_InputHook over and over while they wait for a key: in the thread that
 * reads the line, without the GIL.  It is to return when there is something to
 * read.  The prompt of `python -m tworoutine repl` has it call a Python
 * function, which runs the loop of the calls until then (_repl.py).
 *
 * There is one PyOS_InputHook in a process.  A GUI sets its own, as tkinter
 * does with its first window, but only if there is none.  So ours is in place
 * while a line is read and at no other time; what it has taken the place of is
 * called by that function now and then. */
#ifndef TWR_INPUT_HOOK_H
#define TWR_INPUT_HOOK_H

#include "base/state.h"

/* Have the prompt call function in this thread, or no more if that is NULL.
 * The function returns True if somebody has typed Ctrl-C, which is then
 * passed on to who reads the line: Python code (is_editor), or readline. */
void twr_input_hook_set(PyObject *function, bool is_editor);

/* Whether a hook was in place before ours. */
bool twr_input_hook_has_below(void);

/* Let the hook that was in place before ours handle what is due, and return
 * at once; -1: there is none, or it cannot be made to. */
int twr_input_hook_call_below(void);

#endif
