"""What is left of an engine: nothing after its end, however it ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

from swap_caches import HeldDevice, cache, engine

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from swap_caches import cache, engine
values = cache()
swap = engine(values, path="fused")
swap.store([0, 1, 2], [0, 1, 2])
print("storing", flush=True)
while True:
    swap.wait([swap.load([0, 1], [20, 21])])
"""


def test_a_killed_process_leaves_no_files(tmp_path):
    places = [Path("/dev/shm"), tmp_path, Path("/tmp")]
    mine = {path for place in places if place.exists() for path in place.iterdir()}
    program = PROGRAM.format(tests=str(Path(__file__).parents[1]))
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}, text=True
    )
    try:
        assert process.stdout.readline() == "storing\n"
        opened = {str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()}
        assert not [target for target in opened if "/dev/shm" in target or str(tmp_path) in target]
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert list(tmp_path.iterdir()) == []
    left = {path for place in places[:1] if place.exists() for path in place.iterdir()} - mine
    assert not [path for path in left if "kvbench" in path.name]


def test_close_waits_for_what_is_in_flight():
    device = HeldDevice()
    swap = engine(cache(), path="staged", device=device, staging_bytes=8192)
    swap.store([0, 1, 2, 3], [0, 1, 2, 3])
    swap.close()
    swap.close()
    assert device.ran >= 1


def test_an_engine_that_is_forgotten_gives_its_memory_back():
    swap = engine(cache())
    swap.wait([swap.store([0], [0])])
    slab = weakref.ref(swap._state.slab)
    del swap
    gc.collect()
    assert slab() is None or not hasattr(slab(), "values")
