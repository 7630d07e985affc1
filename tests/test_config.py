"""Tests how an experiment is read from options and YAML, and every message about bad values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kvbench.config import CodecChoice, Experiment, build_experiment, recorded_experiment
from kvbench.errors import UsageError

CONFIGS = Path(__file__).parents[1] / "configs"


def refusal(command: Any = "sweep", config: Path | None = None, **fields: Any) -> str:
    with pytest.raises(UsageError) as raised:
        build_experiment(command, fields, config)
    text = str(raised.value)
    assert "\n" not in text
    return text


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults() -> None:
    experiment = build_experiment("sweep", {})
    assert (experiment.bound_kind, experiment.error_bound, experiment.mode) == (("rel",), (1e-2,), ("plain",))
    assert (experiment.device, experiment.codec) == ("auto", (CodecChoice(name="cuszp"),))


def test_text_becomes_numbers_and_repeated_values_count_once() -> None:
    experiment = build_experiment(
        "compress", {"error_bound": ["1e-3", "0.001"], "tensor_size": "64", "dtype": ["bf16"]}
    )
    assert (experiment.error_bound, experiment.tensor_size, experiment.dtype) == ((1e-3,), (64,), ("bfloat16",))


def test_options_win_over_the_file_and_the_file_over_the_commands_defaults(tmp_path: Path) -> None:
    config = written(tmp_path, "mode: fixed\nerror_bound: [0.5]\n")
    defaults = {"codec": ("cuszp", "raw"), "mode": ("outlier",), "layout": ("hdt",)}
    experiment = build_experiment("sweep", {"error_bound": ["0.25"], "mode": None}, config, defaults)
    assert (experiment.error_bound, experiment.mode, experiment.layout) == ((0.25,), ("fixed",), ("hdt",))
    assert [choice.name for choice in experiment.codec] == ["cuszp", "raw"]


@pytest.mark.parametrize(
    "codec",
    [{"name": "cuszp", "threads": 2}, {"name": "cuszp", "params": {"threads": 2}}, [{"name": "cuszp", "threads": 2}]],
)
def test_a_codec_with_parameters(codec: Any) -> None:
    assert build_experiment("sweep", {"codec": codec}).codec == (CodecChoice(name="cuszp", params={"threads": 2}),)


def test_an_experiment_survives_json() -> None:
    experiment = build_experiment(
        "sweep", {"codec": [{"name": "cuszp", "threads": 2}], "input": ["a.npy"], "seed": "3"}
    )
    assert Experiment.model_validate(json.loads(experiment.model_dump_json())) == experiment


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"error_bound": ["0", "1e-3"]}, ["--error-bound", "0 is not a finite number above 0"]),
        ({"error_bound": ["1e-3", "-1"]}, ["--error-bound", "-1 is not a finite"]),
        ({"error_bound": ["nan"]}, ["--error-bound", "nan is not a finite"]),
        ({"error_bound": ["inf"]}, ["--error-bound", "inf is not a finite"]),
        ({"error_bound": ["1e-400"]}, ["--error-bound", "1e-400"]),
        ({"error_bound": ["1e-3,1e-4"]}, ["'1e-3,1e-4' is not a number", "separate values by spaces"]),
        ({"error_bound": [""]}, ["--error-bound", "'' is not a number"]),
        ({"error_bound": [True]}, ["--error-bound", "True is not a number"]),
        ({"error_bound": []}, ["--error-bound", "at least one value"]),
        ({"tensor_size": ["0"]}, ["--tensor-size", "0 is not above 0"]),
        ({"tensor_size": ["64", "-4"]}, ["--tensor-size", "-4 is not above 0"]),
        ({"tensor_size": ["64K"]}, ["--tensor-size", "'64K' is not a whole number"]),
        ({"tensor_size": ["1.5"]}, ["--tensor-size", "'1.5' is not a whole number"]),
        ({"tensor_size": [str(2**48 + 1)]}, ["--tensor-size", "is above 281474976710656 elements"]),
        ({"tensor_size": ["9" * 30]}, ["--tensor-size", "is above 281474976710656 elements"]),
        ({"geometry": ["layers=1,heads=99999999999,head_dim=9999999"]}, ["--geometry", "is above 281474976710656"]),
        ({"geometry": ["llama-3.1-8b,tokens=99999999999999999999"]}, ["--geometry", "is above 281474976710656"]),
        ({"input": [""]}, ["--input", "an empty text is no path"]),
        ({"baseline": ""}, ["--baseline", "an empty text is no path"]),
        ({"mode": ["fast"]}, ["--mode", "'fast'", "fixed, plain or outlier"]),
        ({"bound_kind": ["relative"]}, ["--bound-kind", "'relative'", "abs, rel or std"]),
        ({"bound_policy": ["loose"]}, ["--bound-policy", "'loose'", "strict or compatible"]),
        ({"dtype": ["int8"]}, ["--dtype", "'int8'", "float32, bfloat16, float16"]),
        ({"layout": ["dht"]}, ["--layout", "'dht'", "thd, htd or hdt"]),
        ({"device": "gpu"}, ["--device", "'gpu'", "auto, cpu or cuda"]),
        ({"device_id": "-1"}, ["--device-id", "'-1' must be at least 0"]),
        ({"layers": ["-1"]}, ["--layers", "'-1' must be at least 0"]),
        ({"iterations": "0"}, ["--iterations", "'0' must be above 0"]),
        ({"time_limit": "nan"}, ["--time-limit", "nan"]),
        ({"link_gbps": "-25"}, ["--link-gbps", "'-25' must be above 0"]),
        ({"link_gbps": "25", "baseline": "run"}, ["link_gbps and baseline", "keep one"]),
        ({"geometry": ["gpt-9"]}, ["--geometry", "'gpt-9'", "llama-3.1-8b"]),
        ({"seed": "9" * 5000}, ["--seed", "999..."]),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_a_remedy(fields: dict[str, Any], words: list[str]) -> None:
    text = refusal(**fields)
    assert [word for word in words if word not in text] == []
    assert len(text) < 400


@pytest.mark.parametrize(
    ("yaml_text", "words"),
    [
        ("mode: plain\n\neror_bound: 1", ["line 3", "unknown key 'eror_bound'", "'error_bound'?"]),
        (
            "codec:\n  - {name: cuszp, params: {}, colour: red}",
            ["line 2", "codec.0.colour", "known keys: name, params"],
        ),
        ("codec: {nome: cuszp}", ["codec.0"]),
        ("mode: [plain, quick]", ["line 1", "mode.1", "'quick'", "fixed, plain or outlier"]),
        ("\nerror_bound: [0.1, -2]", ["line 2", "error_bound.1", "-2 is not a finite"]),
        ("error_bound: [yes]", ["error_bound.0", "True is not a number"]),
        ("mode: null", ["line 1", "mode: has no value; give one, or remove the key"]),
        ("seed: 1\nmode:", ["line 2", "mode: has no value; give one, or remove the key"]),
        ("error_bound: [0.1, ~]", ["error_bound.1: has no value"]),
        ("input: 3", ["line 1", "3 is not a path; write a file name in quotes"]),
        ("input: ''", ["line 1", "an empty text is no path"]),
        ("baseline: 3", ["line 1", "3 is not a path; write a file name in quotes"]),
        ("source: 3", ["line 1", "3 is not text; write it in quotes"]),
        ("command: 3", ["line 1", "command 3 is not known; use baseline, compress, e2e, quality, swap, sweep, tune"]),
        ("command:", ["line 1", "command None is not known"]),
        ("command: [sweep]", ["line 1", "command ['sweep'] is not known"]),
        ("mode: plain\n~: 3", ["line 2", "a key is empty"]),
        ("mode: plain\ncodec:\n  ~: 3", ["line 3", "a key is empty"]),
        ("mode: plain\nmode: fixed", ["line 2", "'mode' was already given on line 1"]),
        ("codec: {name: cuszp, name: raw}", ["line 1", "'name' was already given on line 1"]),
        ("codec:\n- name: cuszp\n  mode: plain\n  mode: fixed", ["line 4", "'mode' was already given on line 3"]),
        ("mode: " + "[" * 5000, ["nests too deep"]),
        ("- mode", ["no mapping"]),
        ("", ["no mapping"]),
        ("mode: [plain", ["not valid YAML"]),
        ("seed: 2026-99-99", ["not valid YAML"]),
        ("command: compress", ["command is 'compress'", "kvbench compress --config"]),
        ("1: 2", ["unknown key '1'"]),
    ],
)
def test_a_bad_file_is_named_with_the_place(tmp_path: Path, yaml_text: str, words: list[str]) -> None:
    path = written(tmp_path, yaml_text)
    text = refusal(config=path)
    assert str(path) in text
    assert [word for word in words if word not in text] == []


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refusal(config=tmp_path / "absent.yaml")
    assert "Is a directory" in refusal(config=tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not valid YAML" in refusal(config=binary)


def test_a_bad_option_beside_a_good_file_is_blamed_on_the_option(tmp_path: Path) -> None:
    config = written(tmp_path, "error_bound: 0.1")
    assert refusal(config=config, error_bound=["0"]).startswith("--error-bound:")


def test_a_link_option_replaces_the_other_kind_of_link_in_the_file(tmp_path: Path) -> None:
    config = written(tmp_path, "baseline: results/some-run")
    experiment = build_experiment("sweep", {"link_gbps": "50"}, config)
    assert (experiment.link_gbps, experiment.baseline) == (50.0, None)


def test_a_baseline_refuses_what_it_would_ignore() -> None:
    assert "does not use mode" in refusal("baseline", mode=["fixed"])
    assert build_experiment("baseline", {"tensor_size": ["64"]}).tensor_size == (64,)


def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CONFIGS / "experiment.schema.json").read_text(encoding="utf-8"))
    return loaded


def test_the_schema_file_is_current() -> None:
    """Remake it with the line in configs/README.md."""
    assert schema() == Experiment.model_json_schema()


def test_there_are_configs() -> None:
    assert len(list(CONFIGS.glob("*.yaml"))) >= 2


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_fits_the_schema_and_the_model(path: Path) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema()).validate(values)
    experiment = build_experiment(values["command"], {}, path)
    assert experiment.command == values["command"]


@pytest.mark.parametrize(
    "values",
    [
        {"command": "sweep", "mode": "quick"},
        {"command": "sweep", "error_bound": [0.1, 0]},
        {"command": "sweep", "tensor_size": 0},
        {"command": "sweep", "eror_bound": 1},
        {"mode": "plain"},
    ],
)
def test_the_schema_refuses_what_the_model_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(values)


@pytest.mark.parametrize(
    "values", [{"mode": "plain"}, {"mode": ["plain", "fixed"]}, {"codec": "raw"}, {"error_bound": 0.1}]
)
def test_the_schema_takes_one_value_or_several(values: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema()).validate({"command": "sweep", **values})


def test_the_largest_size_is_taken_by_model_and_schema() -> None:
    assert build_experiment("sweep", {"tensor_size": 2**48}).tensor_size == (2**48,)
    validator = jsonschema.Draft202012Validator(schema())
    validator.validate({"command": "sweep", "tensor_size": 2**48})
    assert not validator.is_valid({"command": "sweep", "tensor_size": 2**48 + 1})


def test_a_recorded_experiment_is_read_back_or_blamed_on_its_record() -> None:
    experiment = build_experiment("sweep", {"seed": "3"})
    place = Path("run/manifest.json")
    assert recorded_experiment(experiment.model_dump(mode="json"), place) == experiment
    for values, words in (
        ({"command": "sweep", "seed": "x"}, "run/manifest.json: seed: 'x' is not a whole number; restore the record"),
        ({"command": "sweep", "sead": 1}, "run/manifest.json: unknown key 'sead'"),
        ({"command": "dance"}, "run/manifest.json: command: 'dance' is not known"),
    ):
        with pytest.raises(UsageError) as told:
            recorded_experiment(values, place)
        assert str(told.value).startswith(words)
