"""The generated ``model.py``: readable, the same each time, right in parts, and only ever code of ours."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
import torch

from archspace import Exit, Network, Shape
from child_models import apply_exits, build_module, normalised_entropy
from deploy import UnsupportedNetwork, model_code
from deploy.schedule import schedule


def run_source(text: str) -> ModuleType:
    module = ModuleType("generated")
    module.__file__ = "/nowhere/model.py"
    exec(compile(text, "model.py", "exec"), module.__dict__)
    return module


def loaded(made):
    """The generated network with the weights, in inference mode."""
    module = run_source(model_code(made.document))
    network = module.Model()
    network.load_state_dict({k: torch.from_numpy(v) for k, v in made.weights.items()})
    return module, network.eval()


def images_for(network: Network, number: int = 16) -> torch.Tensor:
    return torch.randn((number, *network.input_shape), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("early_exits", [True, False])
def test_same_outputs_as_our_own_module(sample, seed, early_exits):
    made = sample(early_exits=early_exits, seed=seed)
    _, network = loaded(made)
    own = build_module(made.document.network)
    own.load_state_dict({k: torch.from_numpy(v) for k, v in made.weights.items()})
    images = images_for(made.document.network)
    with torch.inference_mode():
        outputs = network(images)
        expected = own.eval()(images)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert len(outputs) == len(expected)
    for output, reference in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, reference, rtol=1e-4, atol=1e-4)


def test_cell_network_has_the_same_outputs(cell_network):
    _, network = loaded(cell_network)
    own = build_module(cell_network.document.network)
    own.load_state_dict({k: torch.from_numpy(v) for k, v in cell_network.weights.items()})
    images = images_for(cell_network.document.network)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), own.eval()(images)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8, 1.0])
def test_predict_lets_each_image_leave_where_its_entropy_says(with_exits, threshold):
    _, network = loaded(with_exits)
    images = images_for(with_exits.document.network, 64)
    with torch.inference_mode():
        logits = [head.numpy() for head in network(images)]
    thresholds = (threshold,) * (len(logits) - 1)
    expected = apply_exits(logits, thresholds)
    classes, heads = network.predict(images, thresholds)
    np.testing.assert_array_equal(heads.numpy(), expected.exit_index)
    np.testing.assert_array_equal(classes.numpy(), expected.predictions)


def test_later_parts_see_only_the_images_that_stayed(with_exits):
    _, network = loaded(with_exits)
    images = images_for(with_exits.document.network, 64)
    with torch.inference_mode():
        exits = network(images)[:-1]
    thresholds = tuple(float(np.median(normalised_entropy(head.numpy()))) for head in exits)
    seen = []
    last = network.parts[-1].__name__
    original = getattr(network, last)
    object.__setattr__(network, last, lambda *live: (seen.append(len(live[0])), original(*live))[1])
    _, heads = network.predict(images, thresholds)
    stayed = int((heads == len(thresholds)).sum())
    assert 0 < stayed < 64
    assert seen == [stayed]


def test_constants_are_those_of_the_document(with_exits):
    module = run_source(model_code(with_exits.document))
    document = with_exits.document
    assert tuple(document.network.input_shape) == module.INPUT_SHAPE
    assert document.network.num_classes == module.NUM_CLASSES
    assert document.class_names == module.CLASS_NAMES
    assert tuple(e.threshold for e in document.network.exits) == module.EXIT_THRESHOLDS


def test_preprocess_scales_pixels_and_normalises(without_exits):
    module = run_source(model_code(without_exits.document))
    pixels = torch.full((2, 3, 12, 12), 255, dtype=torch.uint8)
    torch.testing.assert_close(module.preprocess(pixels), torch.full((2, 3, 12, 12), 2.0))
    torch.testing.assert_close(
        module.preprocess(torch.zeros(2, 3, 12, 12)), -module.preprocess(pixels)
    )


def test_text_is_the_same_each_time_and_imports_torch_only(with_exits, without_exits, cell_network):
    for made in (with_exits, without_exits, cell_network):
        text = model_code(made.document)
        assert text == model_code(made.document)
        imported = {
            line.split()[1].split(".")[0]
            for line in text.splitlines()
            if line.startswith(("import ", "from "))
        }
        assert imported <= {"torch", "json", "math", "pathlib", "collections"}


def test_text_is_clean_code(with_exits, without_exits, cell_network, tmp_path):
    for name, made in (("a", with_exits), ("b", without_exits), ("c", cell_network)):
        (tmp_path / f"{name}.py").write_text(model_code(made.document))
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--select", "E,F,W,I,UP,B"], ["format", "--check"]):
        done = subprocess.run(
            [*ruff, *command, "--isolated", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_class_names_cannot_become_code(without_exits):
    evil = 'x", __import__("os").abort(), "\n"""\\'
    names = (evil, *without_exits.document.class_names[1:])
    module = run_source(model_code(replace(without_exits.document, class_names=names)))
    assert module.CLASS_NAMES[0] == evil


@pytest.mark.parametrize("field", ["name", "block"])
@pytest.mark.parametrize("evil", ["a\nimport os", 'n0"]', "n0\n"])
def test_layer_and_block_names_cannot_become_code(without_exits, change_network, field, evil):
    layers = without_exits.document.network.layers
    layers = (replace(layers[0], **{field: evil}), *layers[1:])
    with pytest.raises(UnsupportedNetwork, match="expected"):
        model_code(change_network(without_exits, layers=layers).document)


def test_exit_without_threshold_is_refused(with_exits, change_network):
    exits = tuple(replace(exit_, threshold=None) for exit_ in with_exits.document.network.exits)
    with pytest.raises(UnsupportedNetwork, match="no threshold yet"):
        model_code(change_network(with_exits, exits=exits).document)


@pytest.mark.parametrize("bits", [1, 9, 16])
def test_bits_that_nothing_stores_are_refused(without_exits, change_network, bits):
    layers = without_exits.document.network.layers
    layers = (replace(layers[0], bits=bits), *layers[1:])
    with pytest.raises(UnsupportedNetwork, match="expected 32 bits, or 2 to 8"):
        model_code(change_network(without_exits, layers=layers).document)


def test_head_that_others_read_is_refused(with_exits):
    network = with_exits.document.network
    middle = network.layers[0].name
    with pytest.raises(UnsupportedNetwork, match="linear"):
        schedule(replace(network, exits=(Exit(name="exit1", layer=middle),)))


def test_schedule_runs_each_layer_once_and_only_what_a_head_needs(sample):
    network = sample(early_exits=True, seed=3).document.network
    parts = schedule(network)
    done = [step.layer.name for part in parts for step in part.steps]
    assert sorted(done) == sorted(layer.name for layer in network.layers)
    assert [part.steps[-1].layer.name for part in parts] == list(network.heads)
    assert parts[0].receives == ("x",)
    for part, following in pairwise(parts):
        assert part.hands_on == following.receives
    assert parts[-1].hands_on == ()


def test_small_input_shape_is_documented(without_exits):
    assert without_exits.document.network.input_shape == Shape(3, 12, 12)
    assert "(N, 3, 12, 12)" in model_code(without_exits.document)
