"""Networks as people bring them, one of each kind: `KINDS[name]()` makes the network, always with the same
weights, and `inputs(name)` samples for it. All have three outputs.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

IMAGES, TABLES, SERIES, TOKENS, VOLUMES = (
    lambda generator: torch.randn(10, 3, 8, 8, generator=generator),
    lambda generator: torch.randn(10, 6, generator=generator),
    lambda generator: torch.randn(10, 6, 8, generator=generator),
    lambda generator: torch.randint(1, 7, (10, 5), generator=generator),
    lambda generator: torch.randn(10, 2, 4, 4, 4, generator=generator),
)


def _pooled(*layers, channels, dimensions=2):
    pool = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dimensions]
    return nn.Sequential(*layers, pool(1), nn.Flatten(), nn.Linear(channels, 3))


class Recurrent(nn.Module):
    """The last state of a recurrent layer, N x T x C to N x 3."""

    def __init__(self, kind, **arguments):
        super().__init__()
        self.layer = kind(8, 5, batch_first=True, **arguments)
        self.head = nn.Linear(
            (arguments.get("proj_size") or 5) * (1 + arguments.get("bidirectional", False)), 3
        )

    def forward(self, x):
        """N x 3."""
        return self.head(self.layer(x)[0][:, -1])


class Attention(nn.Module):
    """Attention over places, N x T x C to N x 3."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(8, 3)

    def forward(self, x):
        """N x 3."""
        found = self.layer(x, x, x)[0] if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        return self.head(found.mean(dim=1))


class Words(nn.Module):
    """Embedded tokens, with the embedding once more as the last layer, N x T to N x 3."""

    def __init__(self, tied):
        super().__init__()
        self.embedding, self.middle = nn.Embedding(7, 4, padding_idx=0), nn.Linear(4, 4)
        self.last, self.head = nn.Linear(4, 7, bias=False), nn.Linear(7, 3)
        if tied:
            self.last.weight = self.embedding.weight

    def forward(self, x):
        """N x 3."""
        return self.head(torch.tanh(self.last(torch.tanh(self.middle(self.embedding(x)).mean(dim=1)))))


class Sparse(Words):
    """An embedding with sparse gradients."""

    def __init__(self):
        super().__init__(tied=False)
        self.embedding.sparse = True


class Bags(nn.Module):
    """A bag of words."""

    def __init__(self):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(7, 4), nn.Linear(4, 3)

    def forward(self, x):
        """N x 3."""
        return self.head(self.bag(x))


class UNet(nn.Module):
    """Down, up by a transposed convolution, and a shortcut across."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        self.up, self.last = nn.ConvTranspose2d(6, 4, 2, stride=2), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        """N x 3."""
        across = self.down(x)
        return self.last(torch.cat([across, self.up(self.deep(across))], dim=1)).mean(dim=(2, 3))


class LowRank(nn.Module):
    """A frozen layer and what is added to it by two small ones that learn (LoRA)."""

    def __init__(self):
        super().__init__()
        self.base, self.a, self.b = nn.Linear(6, 5), nn.Linear(6, 2, bias=False), nn.Linear(2, 5, bias=False)
        self.head = nn.Linear(5, 3)
        for layer in (self.base, self.head):
            layer.requires_grad_(False)

    def forward(self, x):
        """N x 3."""
        return self.head(torch.tanh(self.base(x) + self.b(self.a(x))))


class OneForTwo(nn.Module):
    """A convolution that two norms share."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norms, self.head = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)]), nn.Linear(4, 3)

    def forward(self, x):
        """N x 3."""
        a, b = (norm(self.conv(part)) for norm, part in zip(self.norms, (x, x.flip(2)), strict=True))
        return self.head(torch.relu(a * b.sigmoid()).mean(dim=(2, 3)))


class Reused(nn.Module):
    """A kernel that is used once more, past its module and its norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)

    def forward(self, x):
        """N x 3."""
        return F.conv2d(torch.relu(self.norm(self.conv(x))), self.conv.weight).mean(dim=(2, 3))


class Mixed(nn.Module):
    """Parameters of two types that meet by a cast."""

    def __init__(self, kind):
        super().__init__()
        self.body, self.head = nn.Linear(6, 8).to(kind), nn.Linear(8, 3)

    def forward(self, x):
        """N x 3."""
        return self.head(torch.tanh(self.body(x.to(self.body.weight.dtype))).to(self.head.weight.dtype))


class Slope(nn.Module):
    """Derivatives of its outputs to its inputs, taken as autograd is told to."""

    def __init__(self, how):
        super().__init__()
        self.body, self.how = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), how

    def forward(self, x):
        """N x 3."""
        if self.how == "func":
            return torch.func.vmap(torch.func.jacrev(self.body))(x).mean(dim=2)
        if self.how == "enabled":
            with torch.enable_grad():
                return self._slopes(x.detach().requires_grad_())
        return self._slopes(x.requires_grad_())

    def _slopes(self, x):
        outputs = self.body(x)
        slopes = [
            torch.autograd.grad(outputs[:, i].sum(), x, create_graph=True)[0].mean(dim=1) for i in range(3)
        ]
        return torch.stack(slopes, dim=1)


class Backward(nn.Module):
    """Leaves gradients at its inputs, which add up over calls."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        """N x 3."""
        with torch.enable_grad():
            x = x.requires_grad_()
            (self.body(x) ** 2).sum().backward()
        return self.head(x.grad)


class InPlace(nn.Module):
    """Changes its inputs in place."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 3)

    def forward(self, x):
        """N x 3."""
        return self.body(x.mul_(0.5).add_(0.1))


class Keeping(nn.Module):
    """Makes a channel of ones at its first call, and keeps it."""

    def __init__(self):
        super().__init__()
        self.body, self.ones = nn.Linear(7, 3), None

    def forward(self, x):
        """N x 3."""
        if self.ones is None:
            self.ones = x[:1, :1] * 0 + 1
        return self.body(torch.cat([x, self.ones.expand_as(x[:, :1])], dim=1))


class Guarded(nn.Module):
    """Sets its attributes by rules of its own."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 3)
        self.__dict__["closed"] = True

    def __setattr__(self, name, value):
        if self.__dict__.get("closed") and name != "training":
            raise AttributeError(f"{name} is not to be set")
        super().__setattr__(name, value)

    def forward(self, x):
        """N x 3."""
        return self.body(x)


class Strided(nn.Module):
    """Weights that lie column by column in memory."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.body.weight = nn.Parameter(self.body.weight.detach().t().contiguous().t())

    def forward(self, x):
        """N x 3."""
        return self.head(torch.tanh(self.body(x)))


class Pairs(nn.Module):
    """A bilinear layer on two halves of a row."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Bilinear(3, 3, 3)

    def forward(self, x):
        """N x 3."""
        return self.layer(x[:, :3], x[:, 3:])


class Tuned(nn.Module):
    """A frozen layer whose bias alone learns."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 3)
        self.body.weight.requires_grad_(False)

    def forward(self, x):
        """N x 3."""
        return self.body(x)


def _old(norm):
    with warnings.catch_warnings(action="ignore"):
        return norm(nn.Linear(6, 8))


def _perceptron(first=None, norm=None):
    return nn.Sequential(first or nn.Linear(6, 8), *([norm] if norm else []), nn.Tanh(), nn.Linear(8, 3))


def _pruned():
    convolution = nn.Conv2d(3, 4, 3, bias=False)
    prune.l1_unstructured(convolution, "weight", 0.5)
    return _pooled(convolution, nn.BatchNorm2d(4), nn.ReLU(), channels=4)


def _scripted():
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.script(_pooled(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), channels=4).eval())


def _lazy():
    with warnings.catch_warnings(action="ignore"):
        network = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(3))
    network.eval()(torch.zeros(1, 3, 8, 8))
    return network


def _quantized(which):
    with warnings.catch_warnings(action="ignore"):
        network = nn.Sequential(nn.Identity(), nn.Linear(6, 8), nn.Tanh())
        network.append(nn.Linear(8, 3))
        return torch.ao.quantization.quantize_dynamic(network, which, torch.qint8)


class Shy(nn.Module):
    """Works only where no derivatives are recorded."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 3)

    def forward(self, x):
        """N x 3."""
        if torch.is_grad_enabled():
            raise RuntimeError("made for inference")
        return self.body(x)


def _encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return Attention(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))


_MAKERS = {
    "transposed": lambda: _pooled(nn.ConvTranspose2d(3, 5, 2, stride=2), nn.Tanh(), channels=5),
    "transposed, grouped": lambda: _pooled(nn.ConvTranspose2d(3, 6, 2, groups=3), nn.Tanh(), channels=6),
    "grouped": lambda: _pooled(nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6), channels=6),
    "depthwise": lambda: _pooled(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 5, 1), channels=5
    ),
    "one dimension": lambda: _pooled(
        nn.Conv1d(6, 4, 3, bias=False), nn.BatchNorm1d(4), nn.ReLU(), channels=4, dimensions=1
    ),
    "three dimensions": lambda: _pooled(
        nn.Conv3d(2, 4, 3, bias=False), nn.BatchNorm3d(4), nn.ReLU(), channels=4, dimensions=3
    ),
    "embedding": lambda: Words(tied=False),
    "tied embedding": lambda: Words(tied=True),
    "bag": Bags,
    "LSTM": lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True),
    "LSTM with projection": lambda: Recurrent(nn.LSTM, proj_size=4),
    "GRU": lambda: Recurrent(nn.GRU),
    "RNN": lambda: Recurrent(nn.RNN),
    "attention": lambda: Attention(nn.MultiheadAttention(8, 2, batch_first=True)),
    "transformer": _encoder,
    "PReLU": lambda: nn.Sequential(nn.Linear(6, 8), nn.PReLU(8), nn.Linear(8, 3)),
    "batch norm": lambda: _perceptron(norm=nn.BatchNorm1d(8)),
    "sparse": Sparse,
    "layer norm": lambda: _perceptron(norm=nn.LayerNorm(8)),
    "group norm": lambda: _pooled(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), channels=4),
    "instance norm": lambda: _pooled(
        nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), channels=4
    ),
    "instance norm with statistics": lambda: _pooled(
        nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, track_running_stats=True), nn.ReLU(), channels=4
    ),
    "synchronised norm": lambda: _pooled(
        nn.Conv2d(3, 4, 3, bias=False), nn.SyncBatchNorm(4), nn.ReLU(), channels=4
    ),
    "norm without scale": lambda: _pooled(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU(), channels=4
    ),
    "norm without momentum": lambda: _pooled(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, momentum=None), nn.ReLU(), channels=4
    ),
    "shared by two norms": OneForTwo,
    "kernel used twice": Reused,
    "U-Net": UNet,
    "weight norm": lambda: _perceptron(parametrizations.weight_norm(nn.Linear(6, 8))),
    "old weight norm": lambda: _perceptron(_old(torch.nn.utils.weight_norm)),
    "spectral norm": lambda: _perceptron(parametrizations.spectral_norm(nn.Linear(6, 8))),
    "old spectral norm": lambda: _perceptron(_old(torch.nn.utils.spectral_norm)),
    "orthogonal": lambda: _perceptron(parametrizations.orthogonal(nn.Linear(6, 8))),
    "pruned": _pruned,
    "low rank": LowRank,
    "bias alone": Tuned,
    "lazy": _lazy,
    "parallel": lambda: nn.DataParallel(_perceptron()),
    "TorchScript": _scripted,
    "strided": Strided,
    "bilinear": Pairs,
    "float64": lambda: _perceptron().double(),
    "bfloat16": lambda: _pooled(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), channels=4).bfloat16(),
    "float16": lambda: _perceptron().half(),
    "bfloat16 and float32": lambda: Mixed(torch.bfloat16),
    "float64 and float32": lambda: Mixed(torch.float64),
    "slopes in the forward pass": lambda: Slope("enabled"),
    "slopes that need gradients": lambda: Slope("plain"),
    "slopes by torch.func": lambda: Slope("func"),
    "gradients at the inputs": Backward,
    "inputs changed in place": InPlace,
    "kept from the first call": Keeping,
    "attributes that cannot be set": Guarded,
}


class Spectral(nn.Module):
    """Complex weights on Fourier coefficients."""

    def __init__(self):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(4, 4, dtype=torch.cfloat)), nn.Linear(6, 3)

    def forward(self, x):
        """N x 3."""
        return self.head(torch.fft.irfft(torch.fft.rfft(x) @ self.weight, n=6))


class Stale(nn.Module):
    """Keeps what it computed from its weights at its first call, as networks that merge layers for speed."""

    def __init__(self):
        super().__init__()
        self.body, self.merged = nn.Linear(6, 3), None

    def forward(self, x):
        """N x 3."""
        if self.merged is None:
            self.merged = self.body.weight.detach() * 2
        return F.linear(x, self.merged, self.body.bias)


class Casting(nn.Module):
    """In bfloat16, and its inputs cast to that."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 3).bfloat16()

    def forward(self, x):
        """N x 3."""
        return self.body(x.to(torch.bfloat16))


class Scale(nn.Module):
    """Vectors alone."""

    def __init__(self):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))

    def forward(self, x):
        """N x 3."""
        return x[:, :3] * self.scale + self.shift


class Float32(nn.Sequential):
    """Computes in float32, whatever it is asked for."""

    def forward(self, x):
        """N x 3."""
        return super().forward(x.float())


class Stopped(nn.Sequential):
    """Its outputs have no derivatives."""

    def forward(self, x):
        """N x 3."""
        return super().forward(x).detach()


def _zeros():
    network = nn.Linear(6, 3)
    nn.init.zeros_(network.weight)
    return network


_REFUSED_MAKERS = {
    "complex": Spectral,
    "stale": Stale,
    "casts": Casting,
    "vectors": Scale,
    "quantized": lambda: _quantized({nn.Linear}),
    "quantized in part": lambda: _quantized({"3": torch.ao.quantization.default_dynamic_qconfig}),
    "without derivatives": Shy,
    "float32 inside": lambda: Float32(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)),
    "gradients stopped": lambda: Stopped(nn.Linear(6, 3)),
    "zeros": _zeros,
    "no parameters": nn.Flatten,
    "norm without statistics": lambda: _perceptron(norm=nn.BatchNorm1d(8, track_running_stats=False)),
}


def _seeded(make):
    def seeded():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            network = make().eval()
            for name, tensor in network.named_buffers():
                if "running" in name and tensor is not None:
                    tensor.copy_(0.5 + torch.rand(tensor.shape))
            return network

    return seeded


KINDS = {name: _seeded(make) for name, make in _MAKERS.items()}
REFUSED = {name: _seeded(make) for name, make in _REFUSED_MAKERS.items()}

_IMAGES = (
    *("transposed", "transposed, grouped", "grouped", "depthwise", "group norm", "instance norm", "lazy"),
    *("instance norm with statistics", "synchronised norm", "norm without scale", "norm without momentum"),
    *("shared by two norms", "kernel used twice", "U-Net", "pruned", "TorchScript", "bfloat16"),
)
_INPUTS = {
    **dict.fromkeys(_IMAGES, IMAGES),
    **dict.fromkeys(("one dimension", "LSTM", "LSTM with projection", "GRU", "RNN"), SERIES),
    **dict.fromkeys(("attention", "transformer"), SERIES),
    **dict.fromkeys(("embedding", "tied embedding", "sparse", "bag"), TOKENS),
    "three dimensions": VOLUMES,
}


def made(name):
    """A network of that kind, for `reference.foreign:made`."""
    kind, _, other = name.partition(", other ")
    network = {**KINDS, **REFUSED}[kind]()
    if other:
        torch.nn.init.normal_(network.base.weight if other == "base" else network[0].weight)
    return network


def inputs(name):
    """Ten samples, N x …, always the same."""
    samples = _INPUTS.get(name, TABLES)(torch.Generator().manual_seed(4))
    return samples.double() if name.startswith("float64") and "float32" not in name else samples


def targets():
    """Their classes, int64 (N,)."""
    return torch.arange(10) % 3
