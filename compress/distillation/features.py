"""Maps inside networks: which layers are compared, how their maps are caught, and the adapters between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from archspace import INPUT, Network, Shape
from compress.distillation.losses import smaller_of
from compress.errors import CompressionError

Maps = dict[str, Tensor]
"""Layer → its output (batch, channels, height, width), float32 (float64 stays)."""


class PairError(CompressionError):
    """Layers that cannot be compared; the message says which, and what to do."""


class Pair(NamedTuple):
    """A layer of the student and the layer of the teacher that it is compared with, with their shapes."""

    student: str
    teacher: str
    student_shape: Shape
    teacher_shape: Shape

    @property
    def has_places(self) -> bool:
        """Whether both maps have more than one pixel, so that attention can be compared."""
        rows = min(self.student_shape.height, self.teacher_shape.height)
        columns = min(self.student_shape.width, self.teacher_shape.width)
        return rows * columns > 1


def paired_layers(
    student: Network, teacher: Network, names: Mapping[str, str] | None = None
) -> tuple[Pair, ...]:
    """The pairs that `names` (student's layer → teacher's) says, else the last layers of each resolution that both have.

    Resolutions of one pixel are left out: they belong to heads.

    Raises:
        PairError: a name that is no layer, or no common resolution.
    """
    if names is None:
        ours, theirs = _last_of_each_resolution(student), _last_of_each_resolution(teacher)
        names = {ours[size]: theirs[size] for size in ours if size in theirs}
        if not names:
            raise PairError(
                f"no resolution is common to student {_sizes(ours)} and teacher {_sizes(theirs)}; "
                "say in `pairs` which layers are to be compared, they are resized"
            )
    _check_names("student", student, names)
    _check_names("teacher", teacher, names.values())
    return tuple(
        Pair(ours, theirs, student.shapes[ours], teacher.shapes[theirs])
        for ours, theirs in names.items()
    )


def _last_of_each_resolution(network: Network) -> dict[tuple[int, int], str]:
    last: dict[tuple[int, int], str] = {}
    for layer in network.layers:
        _, height, width = network.shapes[layer.name]
        if height * width > 1:
            last[height, width] = layer.name
    return last


def _sizes(resolutions: Iterable[tuple[int, int]]) -> str:
    return "(" + ", ".join(f"{height}×{width}" for height, width in resolutions) + ")"


def _check_names(whose: str, network: Network, names: Iterable[str]) -> None:
    known = [layer.name for layer in network.layers]
    for name in names:
        if name not in known:
            raise PairError(
                f"pairs: the {whose} has no layer {name!r}; its layers are {', '.join(known)}"
            )


def embedding_layer(network: Network) -> str:
    """The layer whose output stands for an image: what the final linear layer reads, else the final head itself."""
    head = next(layer for layer in network.layers if layer.name == network.output)
    source = head.inputs[0]
    return source if head.op == "linear" and source != INPUT else head.name


class Capture:
    """Outputs of some layers at the last forward pass, by hooks that change nothing.

    A hook that changes a layer's output (fake quantisation) is seen if it was registered before.

    Args:
        module: has the network's layers under `layers`, as `ChildModule`.
        names: of the layers.
    """

    def __init__(self, module: nn.Module, names: Iterable[str]) -> None:
        layers = module.get_submodule("layers")
        self._maps: Maps = {}
        self._handles = [
            layers.get_submodule(name).register_forward_hook(self._keeper(name))
            for name in dict.fromkeys(names)
        ]

    def _keeper(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            self._maps[name] = output

        return keep

    def take(self) -> Maps:
        """The outputs since the last call; vectors (batch, channels) become maps of one pixel."""
        maps = {name: as_map(output) for name, output in self._maps.items()}
        self._maps.clear()
        return maps

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._maps.clear()


def as_map(output: Tensor) -> Tensor:
    """(batch, channels, height, width) in float32; float64 stays."""
    full = output if output.dtype == torch.float64 else output.float()
    return full[:, :, None, None] if full.ndim == 2 else full


class Adapters(nn.Module):
    """A 1×1 convolution for each pair, from the student's channels to the teacher's (FitNets, section 2.2).

    Trained with the student and dropped after it. Also where the channels agree: the student may say the same in
    another basis.
    """

    def __init__(self, pairs: Sequence[Pair], seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.convolutions = nn.ModuleList(
                nn.Conv2d(pair.student_shape.channels, pair.teacher_shape.channels, 1)
                for pair in pairs
            )

    def adapted(self, number: int, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of pair `number`, in the teacher's channels and the smaller of the two sizes."""
        # resized first: it is cheaper, and a mean over cells commutes with a 1×1 convolution
        student, teacher = smaller_of(student, teacher)
        return self.convolutions[number](student), teacher
