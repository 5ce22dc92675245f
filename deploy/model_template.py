"""The fixed text of the generated ``model.py``; `model_code` fills in the layers."""

HEADER = '''
"""Architecture {digest}, found by Netlathe. Needs PyTorch only.

    import model

    network = model.load()  # the weights beside this file
    classes, heads = network.predict(model.preprocess(images))

Images are (N, {shape}); there are {num_classes} classes.
{num_params} parameters, {num_macs} multiply-accumulates an image.
"""

import json
{math}from collections import OrderedDict
{collections_abc}from pathlib import Path

import torch
{functional}from torch import Tensor, nn

{constants}
'''

CONV = '''
def conv(
    channels_in: int,
    channels_out: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    bias: bool = False,
    norm: bool = True,
    relu: bool = False,
) -> nn.Sequential:
    """Convolution, then BatchNorm and ReLU where asked for."""
    steps: OrderedDict[str, nn.Module] = OrderedDict()
    steps["conv"] = nn.Conv2d(
        channels_in, channels_out, kernel, stride, padding, groups=groups, bias=bias
    )
    if norm:
        steps["norm"] = nn.BatchNorm2d(channels_out)
    if relu:
        steps["relu"] = nn.ReLU()
    return nn.Sequential(steps)
'''

BATCH_NORM = '''
def batch_norm(channels: int, relu: bool = False) -> nn.Sequential:
    """BatchNorm alone, then ReLU where asked for."""
    steps: OrderedDict[str, nn.Module] = OrderedDict(norm=nn.BatchNorm2d(channels))
    if relu:
        steps["relu"] = nn.ReLU()
    return nn.Sequential(steps)
'''

LINEAR = '''
def linear(features: int, classes: int) -> nn.Sequential:
    """A head: features -> logits."""
    return nn.Sequential(OrderedDict(linear=nn.Linear(features, classes)))
'''

FORWARD_WITHOUT_EXITS = '''
    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, classes)."""
'''

PREDICT_WITHOUT_EXITS = '''
    @torch.inference_mode()
    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class of each image, (N,), and the head that decided it: always 0."""
        classes = self(x).argmax(1)
        return classes, torch.zeros_like(classes)
'''

FORWARD_WITH_EXITS = '''
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of every head, (N, classes) each: the exits first, the end last."""
        heads, live = [], (x,)
        for part in self.parts:
            logits, *live = part(*live)
            heads.append(logits)
        return tuple(heads)
'''

PREDICT_WITH_EXITS = '''
    @torch.inference_mode()
    def predict(
        self, x: Tensor, thresholds: tuple[float, ...] = EXIT_THRESHOLDS
    ) -> tuple[Tensor, Tensor]:
        """Class of each image, (N,), and the head that decided it, (N,): from 0 on.

        An image leaves at the first exit that is sure enough; only the others go on.
        """
        classes = torch.zeros(len(x), dtype=torch.long, device=x.device)
        heads = torch.zeros_like(classes)
        rows = torch.arange(len(x), device=x.device)  # the images still inside
        live = [x]
        for head, part in enumerate(self.parts):
            if len(rows) == 0:
                break
            logits, *live = part(*live)
            if head < len(thresholds):
                leaves = normalised_entropy(logits) <= thresholds[head]
            else:
                leaves = torch.ones_like(rows, dtype=torch.bool)
            classes[rows[leaves]] = logits[leaves].argmax(1)
            heads[rows[leaves]] = head
            rows, live = rows[~leaves], [value[~leaves] for value in live]
        return classes, heads
'''

ENTROPY = '''
def normalised_entropy(logits: Tensor) -> Tensor:
    """How unsure a head is about each image: above 0 (certain) to 1 (all alike), (N,).

    It is never 0, so that a threshold of 0 switches an exit off.
    """
    log_shares = F.log_softmax(logits.float(), dim=1)
    entropy = -(log_shares.exp() * log_shares).sum(1) / math.log(NUM_CLASSES)
    return entropy.clamp(torch.finfo(torch.float32).tiny, 1.0)
'''

LOADING = '''
def preprocess(images: Tensor) -> Tensor:
    """(N, C, H, W) pixels, uint8 of 0-255 or float of 0-1 -> what the network reads."""
    scaled = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    mean = torch.tensor(MEAN, device=images.device).view(-1, 1, 1)
    std = torch.tensor(STD, device=images.device).view(-1, 1, 1)
    return (scaled - mean) / std


def load(directory: str | Path = Path(__file__).parent) -> Model:
    """The trained network, ready for inference; `directory` holds model.safetensors."""
    model = Model()
    model.load_state_dict(read_safetensors(Path(directory) / "model.safetensors"))
    return model.eval()


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The file: length of a JSON header (8 bytes), that header, then raw numbers."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    types = {"F32": torch.float32, "I64": torch.int64}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (start + offset for offset in entry["data_offsets"])
            numbers = torch.frombuffer(data[begin:end], dtype=types[entry["dtype"]])
            tensors[name] = numbers.reshape(entry["shape"])
    return tensors
'''
