"""The engine against a model of it, with work that is done late and in any amount at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from swap_caches import BOUND, HeldDevice, cache, engine

from kvbench.errors import UsageError

SLOTS = 6
SOURCES = 16
TARGETS = 16


class EngineRules(RuleBasedStateMachine):
    """Random calls; what is in which slot is known, and every finished load is compared."""

    @initialize(
        path=st.sampled_from(["raw", "fused", "staged", "auto"]),
        eviction=st.sampled_from(["none", "lru"]),
        room=st.integers(1, 5),
        ring=st.integers(1, 4),
    )
    def start(self, path, eviction, room, ring):
        self.values = cache(blocks=SOURCES + TARGETS)
        self.device = HeldDevice()
        self.engine = engine(
            self.values, path=path, eviction=eviction, limit_slots=room, slots=SLOTS, device=self.device,
            staging_bytes=ring * 4096,
        )  # fmt: skip
        self.allowed = 0.0 if path == "raw" else BOUND
        self.content = {}  # slot -> (source block, generation)
        self.storing = {}  # job -> {slot: source}
        self.loading = {}  # job -> [(source, target)]
        self.targets = list(range(SOURCES, SOURCES + TARGETS))
        self.epoch = 0
        self.stale = None

    def teardown(self):
        if hasattr(self, "engine"):
            self.engine.close()

    @rule(data=st.data())
    def store(self, data):
        self.note_evicted()
        busy = {slot for slots in self.storing.values() for slot in slots}
        free = sorted(set(range(SLOTS)) - set(self.content) - busy)
        if free:
            slots = data.draw(st.lists(st.sampled_from(free), unique=True, min_size=1, max_size=5))
            sources = data.draw(st.lists(st.integers(0, SOURCES - 1), min_size=len(slots), max_size=len(slots)))
            job = self.engine.store(sources, slots)
            self.storing[job] = dict(zip(slots, sources, strict=True))
        self.note_evicted()

    @rule(data=st.data())
    def load(self, data):
        self.note_evicted()
        if self.content and self.targets:
            slots = data.draw(st.lists(st.sampled_from(sorted(self.content)), unique=True, min_size=1, max_size=4))
            slots = slots[: len(self.targets)]
            targets = [self.targets.pop() for _ in slots]
            generations = [self.content[slot][1] for slot in slots]
            job = self.engine.load(slots, targets, generations=generations)
            self.loading[job] = [(self.content[slot][0], target) for slot, target in zip(slots, targets, strict=True)]

    @rule(data=st.data())
    def free(self, data):
        self.note_evicted()
        if self.content:
            slot = data.draw(st.sampled_from(sorted(self.content)))
            self.stale = (slot, self.content.pop(slot)[1])
            self.engine.free([slot], generations=[self.stale[1]])

    @rule(data=st.data())
    @precondition(lambda self: self.storing)
    def free_while_storing(self, data):
        job = data.draw(st.sampled_from(sorted(self.storing, key=lambda job: job.id)))
        if self.storing[job]:
            slot = data.draw(st.sampled_from(sorted(self.storing[job])))
            self.engine.free([slot])
            del self.storing[job][slot]

    @rule(data=st.data())
    @precondition(lambda self: self.loading)
    def free_while_loading(self, data):
        self.note_evicted()
        job = data.draw(st.sampled_from(sorted(self.loading, key=lambda job: job.id)))
        held = sorted(set(job.slots.tolist()) & self.content.keys())
        if held:
            self.engine.free(held)
            for slot in held:
                del self.content[slot]

    @rule()
    def stale_handles_are_refused(self):
        if self.stale is not None:
            slot, generation = self.stale
            with pytest.raises(UsageError):
                self.engine.load([slot], [SOURCES], generations=[generation])

    @rule(count=st.integers(1, 4), direction=st.sampled_from(["store", "load"]))
    def some_work_is_done(self, count, direction):
        self.device.run(count, direction)

    @rule()
    def poll(self):
        for job, slot_bytes, dropped in self.engine.poll():
            if job in self.loading:
                self.check(job)
            else:
                for slot, source in self.storing.pop(job).items():
                    place = int(np.flatnonzero(job.slots == slot)[0])
                    if slot in dropped:
                        assert slot_bytes[place] == 0
                        self.engine.free([slot])
                    else:
                        assert slot_bytes[place] > 0
                        self.content[slot] = (source, int(job.generations[place]))
        self.note_evicted()

    @rule()
    def wait_for_everything(self):
        self.engine.wait([*self.storing, *self.loading])
        self.poll()
        assert not self.storing
        assert not self.loading
        assert self.device.ran or not self.content

    @rule()
    def reset(self):
        self.epoch += 1
        self.engine.reset(self.epoch)
        self.content.clear()
        self.storing = {job: {} for job in self.storing}

    @invariant()
    def the_books_add_up(self):
        if hasattr(self, "engine"):
            assert self.engine.problem() is None
            assert self.engine.used_bytes <= self.engine.limit_bytes

    def note_evicted(self):
        for slot in self.engine.take_evicted().tolist():
            self.content.pop(slot, None)

    def check(self, job):
        assert not job.failed.any()
        for source, target in self.loading.pop(job):
            assert (self.values[:, :, source] - self.values[:, :, target]).abs().max() <= self.allowed
            self.values[:, :, target] = 0
            self.targets.append(target)


EngineRules.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestEngineRules = EngineRules.TestCase
