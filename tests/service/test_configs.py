"""Every config that ships can be loaded, and is what its comments say."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from compress import CompressionPlan
from service.cli import app
from service.config_file import apply_overrides, read_mapping, validate
from service.errors import UsageError
from service.run_config import RunConfig

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))


def load(path: Path, *overrides: str) -> RunConfig:
    return validate(RunConfig, apply_overrides(read_mapping(path), overrides), str(path))


def test_all_ten_are_there() -> None:
    assert [path.stem for path in FILES] == [
        "cluster",
        "digits-bits",
        "digits-compress",
        "digits-quick",
        "digits",
        "image-folder",
        "nasbench201-table",
        "shapes-bits",
        "shapes-halving",
        "shapes",
    ]


def test_bits_need_a_runtime_that_executes_them() -> None:
    bits, plain = CONFIGS / "digits-bits.yaml", CONFIGS / "digits.yaml"
    assert load(bits).decides_bits
    assert not load(plain).decides_bits
    assert not load(plain, "space.bits=[32]").decides_bits
    for override in ("device.runtime=torch", "device.accelerator=cuda"):
        with pytest.raises(UsageError, match=r"needs device\.runtime onnxruntime"):
            load(bits, override)
    with pytest.raises(UsageError, match="no network of this space runs in INT8"):
        load(plain, "quantisation={calibration_images: 9}")
    with pytest.raises(UsageError, match="the search decides about bits already"):
        load(bits, "compression={steps: [{step: quantise}]}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_loads(path: Path) -> None:
    config = load(path)
    assert config.search.strategy.name == "ppo"


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "compress").glob("*.yaml")), ids=lambda p: p.stem
)
def test_plans_load(path: Path) -> None:
    plan = validate(CompressionPlan, read_mapping(path), str(path))
    assert plan.data is not None
    assert [step.step for step in plan.steps] == ["prune", "quantise"]


def test_a_run_compresses_and_teaches_only_with_data_of_its_own() -> None:
    config = load(CONFIGS / "digits-compress.yaml")
    assert config.compression is not None
    with pytest.raises(UsageError, match="data and device are the run's"):
        load(CONFIGS / "digits-compress.yaml", "compression.data={kind: digits}")
    table = CONFIGS / "nasbench201-table.yaml"
    with pytest.raises(UsageError, match="a run over a table"):
        load(table, "compression={steps: [{step: quantise}]}")
    with pytest.raises(UsageError, match="a run over a table trains nothing"):
        load(table, "teaching={teacher: somewhere}")
    with pytest.raises(UsageError, match="leave resolution out of the rungs"):
        load(
            CONFIGS / "shapes-halving.yaml",
            "teaching={teacher: somewhere}",
            "search.halving.rungs.0.resolution=16",
        )


def test_resolved_config_loads_again() -> None:
    config = load(CONFIGS / "image-folder.yaml")
    again = validate(RunConfig, config.model_dump(mode="json"), "again")
    assert again == config


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("search.budgte=3", "did you mean 'budget'"),
        ("space.opperations=[zero]", "did you mean 'operations'"),
        ("space.operations=[dwconv_k4]", "dwconv_k"),
        ("search.budget=0", "search.budget"),
        ("search.budget=.nan", "search.budget"),
        ("space.keep_ratios=[2.0]", "keep_ratios"),
        ("data.kind=digit", "data"),
        ("search.strategy.name=pppo", "search.strategy"),
        ("search.controls=[{name: ppo}]", "ppo"),
        ("name=../../etc", "name"),
        ("data=null", "data is missing"),
        (
            "search.halving={rungs: [{epochs: 9}]}",
            "9 epochs are more than schedule.search_epochs, 8",
        ),
        ("search.halving={rungs: [{epochs: 1}], windw: 3}", "did you mean 'window'"),
        ("search.halving={rungs: []}", "expected a supernet or at least one of rungs"),
        ("search.halving={supernet: {probes: 1}}", "probes"),
    ],
)
def test_faults_are_named(override: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        load(CONFIGS / "digits.yaml", override)


def test_halving_needs_training_and_strategies_that_can() -> None:
    rungs = "search.halving={rungs: [{epochs: 1}]}"
    with pytest.raises(UsageError, match="a table knows one fidelity"):
        load(CONFIGS / "nasbench201-table.yaml", rungs, "search.controls=[]")
    with pytest.raises(UsageError, match="needs space"):
        load(
            CONFIGS / "digits.yaml",
            "search.halving={supernet: {}}",
            "space={kind: nasbench201}",
            "search.controls=[]",
        )
    with pytest.raises(UsageError, match="evolution learns from children trained in full alone"):
        load(CONFIGS / "shapes.yaml", rungs)


@pytest.mark.parametrize(
    ("rungs", "fault"),
    [
        ("[{epochs: 2, resolution: 8}]", "expected 1 to 7"),
        ("[{epochs: 4}, {epochs: 8, resolution: 4}]", "epochs8-4px after it 0.25"),
        ("[{epochs: 8}]", "each must cost more"),
        ("[{epochs: 1}, {epochs: 7}]", "16 are paid for each child .* search.budget is 12"),
    ],
)
def test_rungs_that_do_not_suit_the_data_are_refused(rungs: str, fault: str) -> None:
    from service.data_and_space import load_dataset, make_space
    from service.halving_checks import check_rungs

    config = load(CONFIGS / "digits.yaml", f"search.halving={{rungs: {rungs}}}", "search.budget=12")
    dataset = load_dataset(config)
    with pytest.raises(UsageError, match=fault):
        check_rungs(config, make_space(config, dataset), dataset)
    fine = load(CONFIGS / "digits.yaml", "search.halving={rungs: [{epochs: 4, resolution: 4}]}")
    check_rungs(fine, make_space(fine, dataset), dataset)


def test_the_cluster_manifest_starts_a_server_that_exists() -> None:
    manifest = yaml.safe_load((CONFIGS / "cluster" / "rayjob.yaml").read_text())
    spec = manifest["spec"]
    _, command = spec["entrypoint"].split(" && exec ")
    program, verb, *options = shlex.split(command)
    known = {name for each in get_command(app).commands[verb].params for name in each.opts}
    assert program == "netlathe"
    assert {option for option in options if option.startswith("--")} <= known
    constraints = (CONFIGS.parent / "constraints.txt").read_text()
    assert f"ray=={spec['rayClusterSpec']['rayVersion']}" in constraints
    groups = [
        spec["rayClusterSpec"]["headGroupSpec"],
        *spec["rayClusterSpec"]["workerGroupSpecs"],
    ]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert [each["name"] for each in container["env"]] == ["NETLATHE_JOB_STORE"]
