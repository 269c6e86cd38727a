"""How much a call may cost: the least that each row has been seen to allow.

`python bench/run.py --check` exits with 1 where tworoutine is above its goal.
The goals are those of CPython 3.13; another version's allow as many times as
much as ALLOWANCES says.
"""

import sys

ALLOWANCES = {(3, 12): 1.15}
GOALS = {  # title of a row: ratio, or a figure where the row has figures
    "no loop: trivial": 0.25,
    "no loop: sleep(0)": 0.35,
    "no loop: future": 0.6,
    "in a loop: trivial": 1.7,
    "in a loop: sleep(0)": 0.45,
    "in a loop: future": 1.0,
    "a new task with one sleep(0)": 0.7,
    "1,000 blocked at once: like for like": 1.35,
    "10,000 blocked at once: like for like": 1.7,
    "100,000 blocked at once": 1.8,
    "memory of a blocked call: one of 1,000": 9.5,
    "memory of a blocked call: one of 100,000": 9.5,
    "a bystander's step: in use": 0.85,
    "a bystander's step: in use, alone": 0.7,
    "a bystander's life: in use": 0.95,
    "home, no loop: trivial": 1.2,
    "method: trivial": 1.8,
}


def goal_of(title, version=sys.version_info[:2]):
    """The goal of a row on a version of CPython; None: the row has none."""
    goal = GOALS.get(title)
    return goal and round(goal * ALLOWANCES.get(version, 1), 3)


def missed(rows):
    """(title, figure, goal) of each row that misses its goal, and has one.

    rows: (cost, baseline, results) each, as they are printed; a title that
    begins with spaces belongs to what stands before the colon above.
    """
    group = ""
    for cost, _, results in rows:
        title = cost.title
        if title.startswith(" "):
            title = f"{group}: {title.strip()}"
        else:
            group = title.partition(":")[0]
        goal, result = goal_of(title), results.get("tworoutine")
        if goal is None:
            continue
        figure = result if isinstance(result, str) else result[0]
        if isinstance(figure, str) or figure > goal:
            yield title, figure, goal
