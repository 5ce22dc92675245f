"""Appends layers to a list, naming them ``n0``, ``n1``, … and keeping track of their channels."""

from __future__ import annotations

from archspace.network import INPUT, Activation, Layer, LayerOp


class LayerBuilder:
    """Every method appends to `layers` and returns the new layer's name, to be used as a source.

    Set `block` before adding the layers of another block.
    """

    def __init__(self, input_channels: int, block: str = "") -> None:
        self.layers: list[Layer] = []
        self.block = block
        self._channels = {INPUT: input_channels}

    def channels(self, name: str) -> int:
        """Output channels of the layer (or ``"input"``) called `name`."""
        return self._channels[name]

    def conv(
        self,
        source: str,
        channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        norm: bool = True,
        activation: Activation = "none",
    ) -> str:
        """A convolution without bias, padded so that stride 1 keeps the pixels (odd kernels)."""
        return self._append(
            "conv",
            (source,),
            channels,
            kernel=kernel,
            stride=stride,
            padding=(kernel - 1) // 2,
            groups=groups,
            norm=norm,
            activation=activation,
        )

    def relu(self, source: str) -> str:
        return self._append("relu", (source,), self.channels(source))

    def batch_norm(self, source: str, *, activation: Activation = "none") -> str:
        return self._append("batch_norm", (source,), self.channels(source), activation=activation)

    def avg_pool(self, source: str, *, kernel: int, stride: int, padding: int) -> str:
        channels = self.channels(source)
        return self._append(
            "avg_pool", (source,), channels, kernel=kernel, stride=stride, padding=padding
        )

    def add(self, sources: tuple[str, ...], *, activation: Activation = "none") -> str:
        return self._append("add", sources, self.channels(sources[0]), activation=activation)

    def zeros(self, source: str) -> str:
        return self._append("zeros", (source,), self.channels(source))

    def classifier(self, source: str, num_classes: int) -> str:
        """Global average pooling, then a linear layer that gives logits."""
        pooled = self._append("global_avg_pool", (source,), self.channels(source))
        return self._append("linear", (pooled,), num_classes)

    def _append(
        self,
        op: LayerOp,
        inputs: tuple[str, ...],
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        norm: bool = False,
        activation: Activation = "none",
    ) -> str:
        name = f"n{len(self.layers)}"
        self.layers.append(
            Layer(
                name=name,
                op=op,
                inputs=inputs,
                block=self.block,
                in_channels=self.channels(inputs[0]),
                out_channels=out_channels,
                kernel=kernel,
                stride=stride,
                padding=padding,
                groups=groups,
                norm=norm,
                activation=activation,
            )
        )
        self._channels[name] = out_channels
        return name
