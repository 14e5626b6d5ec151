"""How long the CPU's threads spin while they wait for one another; must be imported before torch, whose libgomp reads it once.

libgomp spins for milliseconds by default, before it lets the processor go: whatever else runs there is then waited for at every barrier of every
kernel. Some microseconds cover the gaps between kernels as well. With one other busy process on two cores an RL update takes 1.6 times as long under
the default as with this; on an idle machine the two are alike. `GOMP_SPINCOUNT`, where it is set, stays as it is.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "2000")
