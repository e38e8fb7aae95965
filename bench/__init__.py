"""Measurements and the command line."""

import os

# Idle threads sleep instead of spinning: where another program uses one of the cores, spinning makes every parallel
# operator wait for a time slice, several times slower. It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
