"""Owns the free pages of a fixed pool: any page serves anyone, so nothing fragments however long traffic goes on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kvbench.errors import UsageError

Pages = NDArray[np.uint32]


class PagePool:
    """Pages 0 to `count` - 1, kept as a stack: taking and giving k of them copies k numbers, whatever happened before.

    A page is held by whoever took it until it is given back; the pool never hands out more than there are.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise UsageError(f"a pool of {count} pages; it needs at least one")
        # The lowest numbers come first, so that a pool that is never full touches no more memory than it needs.
        self._stack: Pages = np.arange(count - 1, -1, -1, dtype=np.uint32)
        self._free = count
        self.most_in_use = 0

    @property
    def count(self) -> int:
        return len(self._stack)

    @property
    def free(self) -> int:
        return self._free

    @property
    def in_use(self) -> int:
        return len(self._stack) - self._free

    def take(self, count: int) -> Pages | None:
        """`count` pages, or None where there are not so many."""
        if count > self._free:
            return None
        top = self._free
        self._free = top - count
        self.most_in_use = max(self.most_in_use, self.in_use)
        return self._stack[self._free : top][::-1].copy()

    def give(self, pages: Pages) -> None:
        """Take pages back. Raises UsageError for more than were out; which ones were is the holder's to know."""
        top = self._free + len(pages)
        if top > len(self._stack):
            raise UsageError(f"{len(pages)} pages were given back, {self.in_use} were out: some were given back twice")
        self._stack[self._free : top] = pages[::-1]
        self._free = top

    def free_pages(self) -> Pages:
        """The numbers of the free pages, in no order that means anything."""
        return self._stack[: self._free].copy()
