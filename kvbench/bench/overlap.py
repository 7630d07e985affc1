"""Owns encoding and decoding in chunks while the neighbouring chunk is on its way between GPU and host."""

from __future__ import annotations

from dataclasses import replace

import torch

from kvbench.bound import Bound
from kvbench.codecs.base import Codec, Encoded
from kvbench.codecs.pipeline import Pipeline
from kvbench.errors import CaseFailed
from kvbench.tensors.base import KVView

# More and smaller chunks spend on calls what they hide of the copies, where a codec is faster than the link.
MOST_CHUNKS = 4
LEAST_CHUNK_BYTES = 1 << 25


class Overlap:
    """Double buffering over chunks: two buffers for streams, and a CUDA stream for copies beside the current one.

    `encode` compresses chunk k while chunk k - 1 goes to pinned host memory; `decode` brings chunk k + 1 back while
    chunk k is decompressed. Both return as soon as all is enqueued that the codec does not wait for itself; the
    stream that was current when this was made waits for all of it. `bound` is absolute, or None for a codec without
    one: the range of the whole tensor is known before the first chunk starts. `decoded` has the shape and dtype of all
    chunks together.
    """

    def __init__(self, codec: Codec, views: tuple[KVView, ...], decoded: torch.Tensor, bound: Bound | None) -> None:
        device = views[0].tensor.device
        self._codec, self._views, self._bound = codec, views, bound
        self._work = torch.cuda.current_stream(device)
        self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Of each buffer: it holds a chunk's stream, and what it held has been read.
        self._ready = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]
        self._free = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]
        room = max(codec.capacity(view.tensor.numel(), view.tensor.dtype) for view in views)
        self._buffers = [torch.empty(room, dtype=torch.uint8, device=device) for _ in range(2)]
        self._decoded = torch.split(decoded, views[0].tensor.shape[0])
        self._encoded: list[Encoded] = []
        stored_bytes = sum(codec.encode(view, self._buffers[0], bound).stream_bytes for view in views)
        self._stored = torch.empty(stored_bytes, dtype=torch.uint8, pin_memory=True)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of the tensor in a chunk; the last one may have fewer."""
        return self._views[0].tensor.nbytes

    def encode(self) -> None:
        """Encode every chunk, its stream following it to the host."""
        encoded, first = [], 0
        for number, view in enumerate(self._views):
            buffer, ready, free = self._turn(number)
            self._work.wait_event(free)
            encoded.append(self._codec.encode(view, buffer, self._bound))
            ready.record(self._work)
            end = first + encoded[-1].stream_bytes
            self._copies.wait_event(ready)
            with torch.cuda.stream(self._copies):
                self._stored[first:end].copy_(buffer[: end - first], non_blocking=True)
            free.record(self._copies)
            first = end
        self._encoded = encoded
        self._work.wait_stream(self._copies)

    def decode(self) -> None:
        """Decode every chunk that `encode` stored, its stream coming from the host while the one before is decoded."""
        starts = [0]
        for encoded in self._encoded:
            starts.append(starts[-1] + encoded.stream_bytes)
        self._copies.wait_stream(self._work)
        self._fetch(0, starts)
        for number, (encoded, decoded) in enumerate(zip(self._encoded, self._decoded, strict=True)):
            if number + 1 < len(self._encoded):
                self._fetch(number + 1, starts)
            _, ready, free = self._turn(number)
            self._work.wait_event(ready)
            self._codec.decode(encoded, decoded)
            free.record(self._work)

    def verify(self) -> None:
        """Run both once on spoiled memory and compare with the chunks coded one by one, nothing overlapping.

        Raises CaseFailed where a byte differs.
        """
        self._stored.fill_(0xA5)
        self.encode()
        torch.cuda.synchronize(self._work.device)
        for spoiled in (*self._buffers, *self._decoded):
            spoiled.view(torch.uint8).fill_(0xA5)
        self.decode()
        torch.cuda.synchronize(self._work.device)
        for number, (view, decoded) in enumerate(zip(self._views, self._decoded, strict=True)):
            expected = torch.empty_like(view.tensor)
            self._codec.decode(self._codec.encode(view, self._buffers[0], self._bound), expected)
            if not torch.equal(decoded.view(torch.uint8), expected.view(torch.uint8)):
                raise CaseFailed("overlap_differs", f"chunk {number} came back other than without overlap")

    def _fetch(self, number: int, starts: list[int]) -> None:
        buffer, ready, free = self._turn(number)
        first, end = starts[number], starts[number + 1]
        self._copies.wait_event(free)
        with torch.cuda.stream(self._copies):
            buffer[: end - first].copy_(self._stored[first:end], non_blocking=True)
        ready.record(self._copies)

    def _turn(self, number: int) -> tuple[torch.Tensor, torch.cuda.Event, torch.cuda.Event]:
        return self._buffers[number % 2], self._ready[number % 2], self._free[number % 2]


def chunk_views(view: KVView) -> tuple[KVView, ...]:
    """The view cut along its first axis into equal chunks (the last may be smaller): at most MOST_CHUNKS, none below
    LEAST_CHUNK_BYTES unless it is the last. One chunk where the tensor is too small for two."""
    rows = view.tensor.shape[0] if view.tensor.dim() else 1
    chunks = min(MOST_CHUNKS, view.tensor.nbytes // LEAST_CHUNK_BYTES, rows)
    if chunks < 2:
        return (view,)
    return tuple(replace(view, tensor=part) for part in torch.split(view.tensor, -(-rows // chunks)))


def overlap_of(
    codec: Codec, view: KVView, decoded: torch.Tensor, encoded: Encoded, bound: Bound | None
) -> Overlap | None:
    """Chunk-wise coding of a view on a GPU that `encoded` is the whole of; None where it makes less than two chunks.

    None as well where the tensor's absolute bound is no bound to ask for: 0, as of a constant tensor, or infinite; and
    for a pipeline, whose kept tokens and channel means are those of the whole tensor.
    """
    if isinstance(codec, Pipeline):
        return None
    views = chunk_views(view)
    if len(views) < 2:
        return None
    if bound is None:
        return Overlap(codec, views, decoded, None)
    effective = encoded.effective_error_bound
    if not effective:
        return None
    return Overlap(codec, views, decoded, Bound(kind="abs", value=effective))
