"""Writes ``model.py``: the network as plain PyTorch that a person can read, without Netlathe.

The text is a function of the document alone, byte for byte. Names and comments from the document are
checked first: `verify` runs this text, so nothing in a file from elsewhere may smuggle code into it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from archspace import ArchitectureDocument, Layer, Network
from child_models import count_macs, count_params
from deploy.errors import UnsupportedNetwork
from deploy.model_template import (
    BATCH_NORM,
    CONV,
    ENTROPY,
    FORWARD_WITH_EXITS,
    FORWARD_WITHOUT_EXITS,
    HEADER,
    LINEAR,
    LOADING,
    PREDICT_WITH_EXITS,
    PREDICT_WITHOUT_EXITS,
)
from deploy.schedule import LOGITS, Part, Step, schedule

_LAYER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_BLOCK_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
_WIDTH = 88
"""Lines of the generated file, as `black` and `ruff` wrap them by default."""


def model_code(document: ArchitectureDocument) -> str:
    """Text of the stand-alone ``model.py``.

    Raises:
        UnsupportedNetwork: see `schedule`; or an exit without a threshold, or a name that is not an
            identifier.
    """
    network = document.network
    _check(network)
    ops = {layer.op for layer in network.layers}
    sections = [_header(document)]
    helpers = {"conv": CONV, "batch_norm": BATCH_NORM, "linear": LINEAR}
    sections += [text for op, text in helpers.items() if op in ops]
    sections += [ENTROPY] if network.exits else []
    sections += [_model_class(network), LOADING]
    return "\n\n\n".join(section.strip("\n") for section in sections) + "\n"


def _check(network: Network) -> None:
    """Refuses what the text could not say, and any name that is more than a name."""
    if network.num_classes < 2:
        raise UnsupportedNetwork(f"expected at least 2 classes, got {network.num_classes}")
    for layer in network.layers:
        _check_layer(layer)
    for exit_ in network.exits:
        if not _BLOCK_NAME.fullmatch(exit_.name):
            raise UnsupportedNetwork(f"exit {exit_.name!r}: expected letters, digits, . and _")
        if exit_.threshold is None:
            raise UnsupportedNetwork(
                f"exit {exit_.name} has no threshold yet: train the network first, then export it"
            )


def _check_layer(layer: Layer) -> None:
    if not _LAYER_NAME.fullmatch(layer.name):
        raise UnsupportedNetwork(
            f"layer {layer.name!r}: expected at most 64 letters, digits and _ as its name"
        )
    if not _BLOCK_NAME.fullmatch(layer.block):
        raise UnsupportedNetwork(f"block {layer.block!r}: expected letters, digits, . and _")
    if layer.bits != 32 and not (2 <= layer.bits <= 8 and layer.op in ("conv", "linear")):
        raise UnsupportedNetwork(
            f"layer {layer.name}: expected 32 bits, or 2 to 8 for a conv or linear layer, got {layer.bits}"
        )
    if layer.activation != "none" and layer.op not in ("conv", "batch_norm", "add"):
        raise UnsupportedNetwork(f"layer {layer.name}: {layer.op} takes no activation")
    if layer.op not in ("conv", "linear") and layer.in_channels != layer.out_channels:
        raise UnsupportedNetwork(f"layer {layer.name}: {layer.op} cannot change the channels")


def _header(document: ArchitectureDocument) -> str:
    network = document.network
    channels, height, width = network.input_shape
    normalization = document.normalization
    mean = normalization.mean if normalization else (0.0,) * channels
    std = normalization.std if normalization else (1.0,) * channels
    exits = network.exits
    constants = [
        _constant("INPUT_SHAPE", network.input_shape),
        _constant("NUM_CLASSES", network.num_classes),
        _constant("CLASS_NAMES", document.class_names),
        _constant("MEAN", tuple(mean)),
        _constant("STD", tuple(std)),
        _constant("EXIT_NAMES", tuple(exit_.name for exit_ in exits)) if exits else "",
        _constant("EXIT_THRESHOLDS", tuple(exit_.threshold for exit_ in exits)) if exits else "",
    ]
    return HEADER.format(
        digest=_plain(document.digest),
        shape=f"{channels}, {height}, {width}",
        num_classes=network.num_classes,
        num_params=f"{count_params(network):,}",
        num_macs=f"{count_macs(network):,}",
        math="import math\n" if exits else "",
        collections_abc="from collections.abc import Callable\n" if exits else "",
        functional="import torch.nn.functional as F\n" if _needs_functional(network) else "",
        constants="\n".join(text for text in constants if text),
    )


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]", "?", text)


def _needs_functional(network: Network) -> bool:
    calls = {"relu", "avg_pool", "global_avg_pool"}
    sums = any(layer.op == "add" and layer.activation == "relu" for layer in network.layers)
    return bool(network.exits) or sums or bool(calls & {layer.op for layer in network.layers})


def _constant(name: str, value: object) -> str:
    line = f"{name} = {_literal(value)}"
    if len(line) <= _WIDTH or not isinstance(value, tuple):
        return line
    rows = "".join(f"    {_literal(item)},\n" for item in value)
    return f"{name} = (\n{rows})"


def _literal(value: object) -> str:
    """Python source of a string, number or tuple of them; strings in double quotes, ASCII only."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        items = ", ".join(_literal(item) for item in value)
        return f"({items},)" if len(value) == 1 else f"({items})"
    assert isinstance(value, int | float)
    return repr(value)


def _model_class(network: Network) -> str:
    parts = schedule(network)
    lines = [
        "class Model(nn.Module):",
        f'    """{_class_docstring(network)}"""',
        "",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        "        self.layers = nn.ModuleDict(",
        "            {",
        *_indented(_module_lines(parts), 16),
        "            }",
        "        )",
        "",
    ]
    if not network.exits:
        body = [*_indented(_step_lines(parts[0]), 8), "        return logits", ""]
        lines += [*FORWARD_WITHOUT_EXITS.strip("\n").split("\n"), *body]
        return "\n".join([*lines, PREDICT_WITHOUT_EXITS.strip("\n")])
    calls = ", ".join(f"self.part{i}" for i in range(1, len(parts) + 1))
    lines += [FORWARD_WITH_EXITS.strip("\n"), "", *_parts_method(calls)]
    for number, part in enumerate(parts, 1):
        lines += [*_part_method(number, part, network), ""]
    return "\n".join([*lines, PREDICT_WITH_EXITS.strip("\n")])


def _class_docstring(network: Network) -> str:
    channels, height, width = network.input_shape
    image = f"(N, {channels}, {height}, {width})"
    if not network.exits:
        return f"{image} normalised images -> (N, {network.num_classes}) logits."
    return f"{image} normalised images -> one (N, {network.num_classes}) a head."


def _indented(lines: Iterable[str], spaces: int) -> Iterator[str]:
    return (" " * spaces + line for line in lines)


def _module_lines(parts: tuple[Part, ...]) -> Iterator[str]:
    """Entries of the module dictionary in order of computation, a comment where a block begins."""
    block = ""
    for part in parts:
        for step in part.steps:
            if step.layer.op not in ("conv", "batch_norm", "linear"):
                continue
            if step.layer.block != block:
                block = step.layer.block
                yield f"# {block}"
            yield from _call(f'"{step.layer.name}": {step.layer.op}', _arguments(step.layer))


def _arguments(layer: Layer) -> list[str]:
    """What the layer's helper function is called with; defaults are left out."""
    relu = ["relu=True"] if layer.activation == "relu" else []
    if layer.op == "batch_norm":
        return [str(layer.out_channels), *relu]
    if layer.op == "linear":
        return [str(layer.in_channels), str(layer.out_channels)]
    return [
        *(str(size) for size in (layer.in_channels, layer.out_channels, layer.kernel)),
        *([f"stride={layer.stride}"] if layer.stride != 1 else []),
        *([f"padding={layer.padding}"] if layer.padding else []),
        *([f"groups={layer.groups}"] if layer.groups != 1 else []),
        *(["bias=True"] if layer.bias else []),
        *([] if layer.norm else ["norm=False"]),
        *relu,
    ]


def _call(function: str, arguments: list[str]) -> list[str]:
    """``function(arguments),`` wrapped as a formatter would, for lines that stand 16 columns in."""
    listed = ", ".join(arguments)
    if 16 + len(function) + len(listed) + 3 <= _WIDTH:
        return [f"{function}({listed}),"]
    if 20 + len(listed) <= _WIDTH:
        return [f"{function}(", f"    {listed}", "),"]
    return [f"{function}(", *(f"    {argument}," for argument in arguments), "),"]


def _step_lines(part: Part) -> Iterator[str]:
    block = ""
    for step in part.steps:
        if step.layer.block != block:
            block = step.layer.block
            yield f"# {block}"
        yield f"{step.target} = {_expression(step)}"


def _expression(step: Step) -> str:
    layer, first = step.layer, step.sources[0]
    module = f'self.layers["{layer.name}"]'
    if layer.op in ("conv", "batch_norm"):
        return f"{module}({first})"
    if layer.op == "linear":
        return f"{module}({first}.flatten(1))"
    if layer.op == "add":
        total = " + ".join(step.sources)
        return f"F.relu({total})" if layer.activation == "relu" else total
    if layer.op == "relu":
        return f"F.relu({first})"
    if layer.op == "avg_pool":
        window = f"{layer.kernel}, {layer.stride}, {layer.padding}"
        return f"F.avg_pool2d({first}, {window}, count_include_pad=False)"
    if layer.op == "global_avg_pool":
        return f"F.adaptive_avg_pool2d({first}, 1)"
    if layer.op == "zeros":
        return f"torch.zeros_like({first})"
    raise UnsupportedNetwork(f"layer {layer.name}: unknown operation {layer.op!r}")


def _parts_method(calls: str) -> list[str]:
    return [
        "    @property",
        "    def parts(self) -> tuple[Callable[..., tuple[Tensor, ...]], ...]:",
        '        """What runs up to each exit, and then to the end."""',
        f"        return ({calls})",
        "",
    ]


def _part_method(number: int, part: Part, network: Network) -> list[str]:
    arguments = ", ".join(f"{name}: Tensor" for name in part.receives)
    last = number == len(network.heads)
    goal = "the final head" if last else network.exits[number - 1].name
    results = f"({LOGITS},)" if not part.hands_on else ", ".join((LOGITS, *part.hands_on))
    return [
        f"    def part{number}(self, {arguments}) -> tuple[Tensor, ...]:",
        f'        """Logits of {goal}{"" if last else ", then what the next part reads"}."""',
        *_indented(_step_lines(part), 8),
        f"        return {results}",
    ]
