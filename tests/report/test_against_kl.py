"""The figure of ratio over KL, and the sentence that names who stores least at a given KL."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import make_run, result

from kvbench.bound import Bound
from kvbench.record.schema import Case, CaseResult, PhaseSamples, TensorSpec
from kvbench.report import draw
from kvbench.report.against_kl import can_draw, draw_ratio_against_kl
from kvbench.report.answer import answer
from kvbench.report.scored import kl_answer, over_texts, setting_words

ELEMENTS = 1000


def scored(
    codec: str,
    ratio: float,
    kl: float | None,
    text: str = "prose",
    bound: float | None = None,
    width: float = 0.1,
    **fields: object,
) -> CaseResult:
    """A case whose KL has an interval of `width` of it each way."""
    spec = TensorSpec(source=f"/some/{text}", tensor="tiny", dtype="bfloat16", shape=(ELEMENTS,))
    case = Case(
        command="quality",
        codec=codec,
        mode="outlier" if codec == "cuszp" else None,
        codec_params={"mode": "outlier", "bound_policy": "strict"} if codec == "cuszp" else {},
        bound=None if bound is None else Bound(value=bound),
        tensor=spec,
        layout="hdt",
        dtype="bfloat16",
        elements=ELEMENTS,
        device="cpu",
        keep_first=4 if codec == "cuszp" else 0,
    )
    metrics: dict[str, float | int | None] = {"ratio": ratio, "compressed_bytes": round(2 * ELEMENTS / ratio)}
    if kl is not None:
        metrics |= {"kl_mean": kl, "kl_mean_ci_low": kl * (1 - width), "kl_mean_ci_high": kl * (1 + width)}
    return result(case, **{"metrics": metrics, **fields})


FLOOR = scored("raw", 1.0, 0.0)


def test_a_setting_is_told_in_words() -> None:
    assert setting_words(scored("cuszp", 3.0, 1e-3, bound=1e-2)) == "cuszp outlier hdt keep 4"
    assert setting_words(FLOOR) == "raw"
    other = FLOOR.case.model_copy(update={"codec": "groupwise", "codec_params": {"bits": 4}, "dtype": "float16"})
    assert setting_words(FLOOR.model_copy(update={"case": other})) == "groupwise bits=4 hdt float16"


def test_the_winner_at_a_level_is_who_stores_least_within_it() -> None:
    found = [FLOOR, scored("fp8", 2.0, 1.5e-3), scored("groupwise", 3.5, 6e-3), scored("cuszp", 5.0, 0.12, bound=3e-2)]
    [alike] = kl_answer(found)  # none but raw is within 0.001
    assert alike == (
        "At a mean KL of at most 0.01 or 0.1 nat groupwise hdt stores least: 3.50 times fewer bytes than raw "
        "(4.57 bits a value), with KL 0.006 (0.0054 to 0.0066)."
    )
    at_2, at_1 = kl_answer([*found, scored("rotated", 4.5, 2e-2)])
    assert at_2.startswith("At a mean KL of at most 0.01 nat groupwise hdt stores least")
    assert at_1.startswith("At a mean KL of at most 0.1 nat rotated hdt stores least")


def test_the_sentence_has_the_speed_of_the_winner_over_all_texts() -> None:
    timed = [
        scored("fp8", 2.0, 1.5e-3, text, phases={"encode_call": spent(encode_s), "decode_call": spent(1e-6)})
        for text, encode_s in (("prose", 1e-6), ("manual", 3e-6))
    ]
    [one] = over_texts(timed)
    assert (one.encode_gbps, one.decode_gbps) == pytest.approx((1.0, 2.0))
    assert one.bits_per_value == pytest.approx(8.0)
    [sentence] = kl_answer(timed)
    assert sentence.endswith(", at 1 GB/s to encode and 2 to decode on the CPU.")
    unresolved = timed[0].model_copy(update={"phases": {"encode_call": spent(1e-6, flags=["unresolved"])}})
    [one] = over_texts([unresolved, timed[1]])
    assert (one.encode_gbps, one.decode_gbps) == (None, None)


def test_settings_of_two_element_types_are_compared_by_their_bits() -> None:
    wide = scored("rotated", 5.0, 6e-3)
    case = wide.case.model_copy(update={"dtype": "float32"})
    metrics = wide.metrics | {"compressed_bytes": round(4 * ELEMENTS / 5.0)}
    found = [FLOOR, scored("groupwise", 3.5, 6e-3), wide.model_copy(update={"case": case, "metrics": metrics})]
    assert kl_answer(found)[0].startswith("At a mean KL of at most 0.01 nat groupwise hdt stores least: 3.50 times")


def spent(seconds: float, **fields: object) -> PhaseSamples:
    """One call over the 2000 bytes of a case."""
    return PhaseSamples(samples_s=[seconds], work_bytes=2 * ELEMENTS, median_s=seconds, **fields)


def test_who_cannot_be_told_from_the_winner_is_named() -> None:
    level = [FLOOR, scored("groupwise", 3.5, 6e-3), scored("cuszp", 3.48, 2e-3, bound=1e-2), scored("fp8", 3.4, 1e-3)]
    assert "do not tell it from cuszp outlier hdt keep 4 at rel 1e-2 (3.48 times," in kl_answer(level)[-1]
    assert "fp8" not in kl_answer(level)[-1]
    over = [FLOOR, scored("groupwise", 3.5, 6e-3), scored("cuszp", 4.0, 1.05e-2, bound=1e-2)]
    assert "do not tell it from cuszp" in kl_answer(over)[0]
    assert "do not tell it" not in kl_answer([*over[:2], scored("cuszp", 4.0, 1.2e-2, bound=1e-2)])[0]


def test_texts_count_alike_and_a_setting_that_lacks_one_does_not_count() -> None:
    found = [
        scored("groupwise", 4.0, 2e-3, width=0.3),
        scored("groupwise", 2.0, 6e-3, "manual", width=0.4),
        scored("cuszp", 9.0, 1e-9, bound=1e-2),
        scored("fp8", 2.0, 1e-3),
        scored("fp8", 2.0, 1e-3, "manual", status="invalid"),
        scored("groupwise", 4.0, None, "needle"),
        scored("lossless", 1.3, None, "needle", status="failed"),
    ]
    [one] = over_texts(found)
    assert str(one) == "groupwise hdt"
    assert one.ratio == pytest.approx(4000 / 1500)
    assert one.kl.value == pytest.approx(4e-3)
    half = ((0.6e-3) ** 2 + (2.4e-3) ** 2) ** 0.5 / 2
    assert (one.kl.low, one.kl.high) == pytest.approx((4e-3 - half, 4e-3 + half))


def test_without_a_change_or_near_any_level_that_is_said() -> None:
    assert kl_answer([FLOOR]) == ["No setting changed what the model says, or none has finished."]
    assert kl_answer([]) == kl_answer([FLOOR])
    [far] = kl_answer([scored("cuszp", 9.0, 2.0, bound=0.3)])
    assert far == "No setting stays within a mean KL of 0.1 nat; the closest is " + far.partition("closest is ")[2]
    assert "cuszp outlier hdt keep 4 at rel 3e-1, with KL 2" in far


def test_the_figure_has_a_panel_a_text(tmp_path: Path) -> None:
    found = [
        *(scored("cuszp", ratio, kl, text, bound) for text in ("prose", "manual") for ratio, kl, bound in POINTS),
        scored("groupwise", 3.5, 6e-3, status="invalid"),
        scored("groupwise", 3.5, None, "needle"),
        FLOOR,
    ]
    drawn = draw_ratio_against_kl(tmp_path, found, ["a note"])
    text = drawn.svg.read_text()
    assert drawn.png.stat().st_size > 5000
    for word in ("prose", "manual", "mean KL, nat", "cuszp outlier keep 4", "groupwise", "a note"):
        assert f">{word}<" in text
    assert "needle" not in text
    assert drawn.caption.endswith("In all: hdt.")
    first = drawn.svg.read_bytes()
    assert draw_ratio_against_kl(tmp_path, found, ["a note"]).svg.read_bytes() == first
    assert not can_draw([FLOOR, scored("groupwise", 3.5, None)])


POINTS = ((3.0, 2e-3, 1e-2), (5.0, 8e-2, 1e-1))


def test_a_run_of_quality_is_drawn_and_answered(tmp_path: Path) -> None:
    found = [FLOOR, *(scored("cuszp", ratio, kl, bound=bound) for ratio, kl, bound in POINTS)]
    folder = make_run(tmp_path / "run", found, command="quality", link=None)
    names = {path.name for path in draw(folder)}
    assert {"ratio_vs_kl.png", "ratio_vs_kl.svg", "report.html"} <= names
    assert "ratio_vs_bound.svg" not in names
    assert answer(folder.manifest(), found) == kl_answer(found)
    page = (folder.path / "report.html").read_text()
    assert "At a mean KL of at most 0.01 nat cuszp" in page
