"""Owns the words for swaps in tables, figures and sentences."""

from __future__ import annotations

from kvbench.record.schema import Case, CaseResult

_TOOK = "took_"


def is_swap(result: CaseResult) -> bool:
    """Whether a case is a timed swap or a soak."""
    return result.case.path is not None


def coding_words(case: Case) -> str:
    """`cuszp plain rel 0.01`, `raw`, or the profile's name."""
    if case.codec == "raw":
        return "raw"
    words = [case.profile or case.codec, case.mode, None if case.bound is None else str(case.bound)]
    return " ".join(word for word in words if word)


def took(result: CaseResult) -> str:
    """The path that most batches of a case took; '' where that is not known."""
    return next((flag.removeprefix(_TOOK) for flag in result.flags if flag.startswith(_TOOK)), "")


def line_words(case: Case) -> str:
    """`fused, cuszp plain rel 0.01, beside gemm`: everything but direction and size."""
    words = [str(case.path), coding_words(case) if case.codec != "raw" else ""]
    words += [f"beside {case.beside}"] if case.beside not in (None, "nothing") else []
    words += [case.dtype] if case.dtype != "bfloat16" else []
    words += [case.tensor.source] if case.tensor is not None and case.tensor.source != "kv" else []
    return ", ".join(word for word in words if word)


def swap_words(case: Case) -> str:
    """`swap out, fused, cuszp plain rel 0.01`: for tables and sentences."""
    way = "soak" if case.soak is not None else f"swap {case.direction}"
    return ", ".join([way, line_words(case)])
