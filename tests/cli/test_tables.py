"""Tests the printed tables: what shares a row, what a row says, and that it fits a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from rich.console import Console

from kvbench.bound import Bound
from kvbench.cli.rows import constant, grouped, rows_of, settings, varying
from kvbench.cli.tables import case_table, codec_table, number, plan_table
from kvbench.codecs.registry import CodecInfo
from kvbench.record.schema import Case, CaseResult, CaseStatus, PhaseSamples, TensorSpec

ELEMENTS = 1_000_000


def result(
    *,
    layer: int = 0,
    kv: str = "k",
    mode: str | None = "plain",
    bound: float | None = 0.01,
    kind: str = "rel",
    policy: str = "strict",
    compressed_bytes: int = 500_000,
    encode_s: float | None = 1e-3,
    rmse: float = 0.1,
    status: CaseStatus = "ok",
    flags: Sequence[str] = (),
    phase_flags: Sequence[str] = (),
) -> CaseResult:
    """A case of 2 MB that encodes at 2 GB/s and decodes at 4 GB/s."""
    spec = TensorSpec.model_validate(
        {"source": "files/cache.npy", "tensor": f"{kv}{layer}", "layer": layer, "kv": kv, "dtype": "bfloat16"}
        | {"shape": [ELEMENTS // 100, 2, 50], "source_layout": "thd"}
    )
    case = Case(
        command="sweep",
        codec="cuszp" if bound else "raw",
        codec_params={"mode": mode, "bound_policy": policy} if bound else {},
        mode=mode,
        bound=Bound.model_validate({"kind": kind, "value": bound}) if bound else None,
        tensor=spec,
        layout="thd",
        dtype="bfloat16",
        shape=spec.shape,
        elements=ELEMENTS,
        device="cpu",
    )
    raw_bytes = case.raw_bytes
    phases = {"decode_call": PhaseSamples(samples_s=[5e-4], work_bytes=raw_bytes, median_s=5e-4)}
    if encode_s is not None:
        phases["encode_call"] = PhaseSamples(
            samples_s=[encode_s], work_bytes=raw_bytes, median_s=encode_s, flags=list(phase_flags)
        )
    return CaseResult(
        case_id=case.id,
        case=case,
        status=status,
        flags=list(flags),
        metrics={
            "compressed_bytes": compressed_bytes,
            "ratio": raw_bytes / compressed_bytes,
            "rmse": rmse,
            "psnr_db": 40.0 + layer,
            "max_abs_error": 0.5 if bound else 0.0,
            "effective_error_bound": 1.0 + layer if bound else None,
        },
        phases=phases,
        started_at="2026-01-01T00:00:00Z",
        elapsed_s=1.0,
    )


def printed(table: object, width: int = 80) -> list[str]:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def many() -> list[CaseResult]:
    return [result(layer=layer, kv=kv, bound=bound) for bound in (0.1, 0.01) for layer in range(10) for kv in "kv"]


# Rows.


def test_a_row_over_tensors_adds_bytes_and_times_and_keeps_the_worst_error() -> None:
    slow = result(layer=1, compressed_bytes=1_500_000, encode_s=3e-3)
    [row] = grouped([result(layer=0), slow], leaving_out=("layer", "tensor"))
    assert row.ratio == 4_000_000 / 2_000_000
    assert row.bits_per_value == 8 * 2_000_000 / (2 * ELEMENTS)
    assert row.gbps("encode_call") == pytest.approx(4e6 / 4e-3 / 1e9)
    assert row.gbps("decode_call") == pytest.approx(4.0)
    assert row.break_even_gbps == pytest.approx(2 * 2e6 / 5e-3 / 1e9)
    assert row.worst_error_over_bound == 0.5
    assert row.mean_psnr_db == 40.5


def test_what_is_unknown_for_one_tensor_is_unknown_for_the_row() -> None:
    untimed = result(layer=1, encode_s=None)
    unresolved = result(layer=2, phase_flags=["unresolved"])
    for other in (untimed, unresolved):
        [row] = grouped([result(), other], leaving_out=("layer", "tensor"))
        assert row.gbps("encode_call") is None
        assert row.gbps("decode_call") == pytest.approx(4.0)
        assert row.ratio == 4.0


def test_compression_that_saves_nothing_never_pays() -> None:
    [row] = grouped([result(compressed_bytes=2_000_100)], leaving_out=())
    assert row.break_even_gbps is None


def test_few_cases_have_a_row_each_and_many_share_rows_by_setting() -> None:
    assert len(rows_of(many()[:24])) == 24
    rows = rows_of(many())
    assert [(row.settings["bound"], row.settings["kv"], len(row.results)) for row in rows] == [
        ("0.1", "k", 10),
        ("0.1", "v", 10),
        ("0.01", "k", 10),
        ("0.01", "v", 10),
    ]
    assert "layer" not in rows[0].settings


def test_settings_that_differ_are_told_apart_and_the_rest_is_said_once() -> None:
    rows = rows_of([result(bound=0.1), result(bound=0.01), result(bound=None, mode=None)])
    assert varying(rows) == ["codec", "bound"]
    same = constant(rows)
    assert (same["mode"], same["bound kind"], same["dtype"], same["source"]) == ("plain", "rel", "bf16", "cache.npy")


def test_the_tensors_name_is_shown_only_where_layer_and_kv_do_not_do() -> None:
    assert "tensor" not in varying(rows_of([result(layer=0), result(layer=1)]))
    twin = result(layer=0)
    assert twin.case.tensor is not None
    renamed = twin.case.tensor.model_copy(update={"tensor": "other"})
    other = twin.model_copy(update={"case": twin.case.model_copy(update={"tensor": renamed})})
    assert varying(rows_of([twin, other])) == ["tensor"]


def test_parameters_of_a_codec_are_part_of_its_name() -> None:
    plain = result()
    tuned = plain.case.model_copy(update={"codec_params": {"mode": "plain", "block": 64}})
    assert settings(plain.model_copy(update={"case": tuned}))["codec"] == "cuszp block=64"


# Tables.


def test_the_case_table_fits_80_columns_and_says_what_was_measured() -> None:
    table, notes = case_table([result(kv=kv, mode=mode) for kv in "kv" for mode in ("fixed", "plain", "outlier")])
    lines = printed(table)
    assert max(map(len, lines)) <= 80
    first = next(line.split() for line in lines if line.startswith("cuszp"))
    assert first == ["cuszp", "fixed", "0.01", "k", "4.00", "4.00", "0.500", "40.0", "2.00", "4.00", "2.00", "*"]
    assert notes[0].startswith(
        "same in all rows, where it applies: source cache.npy, codec cuszp, bound kind rel, bound 0.01"
    )


def test_only_cases_on_the_front_have_a_star() -> None:
    worse = result(bound=0.1, compressed_bytes=600_000, rmse=0.2)
    lines = printed(case_table([result(), worse])[0])
    stars = {line.split()[1]: line.endswith("*") for line in lines if line.startswith("cuszp")}
    assert stars == {"0.01": True, "0.1": False}


def test_a_row_partly_on_the_front_says_so() -> None:
    dominated = [result(layer=layer, bound=0.1, compressed_bytes=600_000, rmse=0.2) for layer in range(20)]
    best = [result(layer=layer) for layer in range(19)]
    lines = printed(case_table([*dominated, *best])[0])
    assert [line.split()[-1] for line in lines if line.startswith("cuszp")] == ["(*)", "*"]


def test_what_was_not_simply_encoded_is_remarked() -> None:
    odd = [result(bound=0.1, flags=["stored_raw"]), result(bound=0.5, status="invalid")]
    text = " ".join(printed(case_table([result(), *odd])[0], width=100))
    assert "stored raw" in text
    assert "invalid" in text


def test_two_kinds_of_bound_are_written_with_the_bound() -> None:
    text = "\n".join(printed(case_table([result(), result(kind="abs")])[0], width=120))
    assert "rel 0.01" in text
    assert "abs 0.01" in text


def test_a_long_sweep_shows_the_front_and_counts_what_it_leaves_out() -> None:
    values = [0.5 / (1 + step) for step in range(50)]
    results = [
        result(bound=value, compressed_bytes=500_000 + 1000 * (step % 2), rmse=value)
        for step, value in enumerate(values)
    ]
    table, notes = case_table(results)
    rows = [line for line in printed(table) if line.startswith("cuszp")]
    assert rows
    assert all(row.endswith("*") for row in rows)
    assert any(note.startswith(f"{50 - len(rows)} rows without a Pareto mark") for note in notes)


def test_a_mean_psnr_says_which_tensors_it_leaves_out() -> None:
    exact, unknown = result(layer=1), result(layer=2)
    exact.metrics.update(psnr_db=None, max_abs_error=0.0)
    unknown.metrics["psnr_db"] = None
    [row] = grouped([result(), exact], leaving_out=("layer", "tensor"))
    assert (row.mean_psnr_db, row.exact) == (40.0, 1)
    assert grouped([result(), unknown], leaving_out=("layer", "tensor"))[0].mean_psnr_db is None
    assert grouped([exact], leaving_out=())[0].mean_psnr_db is None
    for one in (shared := many()):
        one.metrics["psnr_db"] = 26.2
    shared[0].metrics.update(psnr_db=None, max_abs_error=0.0)
    text = " ".join(printed(case_table(shared)[0], width=140))
    assert "PSNR: 1 exact left out" in text


def test_without_a_measured_case_there_is_no_table() -> None:
    failed = result().model_copy(update={"metrics": {}, "status": "failed"})
    assert case_table([failed]) == (None, [])


def test_the_plan_table_names_every_case() -> None:
    lines = printed(plan_table([result().case, result(bound=0.1).case]), width=100)
    assert [line.split()[0] for line in lines[-2:]] == ["1", "2"]
    assert "cuszp plain rel 0.1" in lines[-1]


def test_a_codec_that_cannot_be_used_is_listed_with_the_reason() -> None:
    infos = [CodecInfo("cuszp", "kvbench 1", None, "good", False, ("bound",), ("mode=plain",), ("cpu",))]
    text = "\n".join(printed(codec_table([*infos, CodecInfo("zfp", "other 2", "zfpy is not installed")])))
    for words in ("good", "axes: bound", "parameters: mode=plain", "cannot be used here: zfpy is not installed"):
        assert words in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (1, "1.00"),
        (3.14159, "3.14"),
        (31.4159, "31.4"),
        (99999.5, "100000"),
        (0.0034567, "0.00346"),
        (-2.5, "-2.50"),
        (1.5e-7, "1.50e-07"),
        (4e12, "4.00e+12"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text
