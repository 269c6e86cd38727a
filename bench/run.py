"""What a synchronous call costs: one table of all files here.

Requires: tworoutine greenlet nest_asyncio greenback

    python bench/run.py [--quick] [--markdown] [--check]

Every file can be run alone, too, with the same options.
"""

import blocked
import bystander
import call
import depth
import duals
import fan_out
import homes
import memory
import mix
from harness import main

FILES = (
    call,
    blocked,
    memory,
    bystander,
    depth,
    mix,
    homes,
    duals,
    fan_out,
)

if __name__ == "__main__":
    main([cost for file in FILES for cost in file.COSTS], __doc__)
