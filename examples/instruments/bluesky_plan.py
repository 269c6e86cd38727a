"""Bluesky with ophyd-async: a plan, and its devices at the prompt."""

from bluesky import RunEngine
from bluesky import plan_stubs as bps
from ophyd_async.core import StandardReadable, init_devices, soft_signal_rw
from ophyd_async.core import StandardReadableFormat as Format
from scipy.optimize import minimize_scalar

from tworoutine import tworoutine

# Its loop runs in a thread of its own.
RE = RunEngine(call_returns_result=True)


class Cavity(StandardReadable):
    """A cavity: a motor, and the power that is reflected."""

    def __init__(self, name=""):
        with self.add_children_as_readables(Format.HINTED_SIGNAL):
            self.position = soft_signal_rw(float, units="mm")
            self.reflected = soft_signal_rw(float, units="W")
        super().__init__(name)

    @tworoutine(home=lambda: RE.loop)  # devices belong to that loop
    async def measure(self, position):
        """The reflected power in watts at a position in mm."""
        await self.position.set(position)
        await self.reflected.set((position - 1.25) ** 2)  # no physics here
        return await self.reflected.get_value()


with init_devices():
    cavity = Cavity()

# At the prompt, below SciPy.
print(cavity.measure(1.0))  # 0.0625
best = minimize_scalar(cavity.measure, bounds=(0, 3), method="bounded").x
print(f"{best:.3f} mm")  # 1.250 mm


# In a plan: the RunEngine's loop waits for the call, and runs on meanwhile.
def tune(cavity):
    best = minimize_scalar(cavity.measure, bounds=(0, 3), method="bounded").x
    yield from bps.mv(cavity.position, float(best))
    return (yield from bps.rd(cavity.position))


print(f"{RE(tune(cavity)).plan_result:.3f} mm")  # 1.250 mm
