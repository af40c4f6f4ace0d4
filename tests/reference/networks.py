"""Networks and losses such as users bring along; tests name them as `reference.networks:…`."""

import torch
from torch import nn

COUNT = 7


class Language(nn.Module):
    """Tokens N x T to logits N x T x vocabulary; with `tied`, the embedding is the last layer too."""

    def __init__(self, vocabulary=11, width=6, tied=False):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens):
        """Logits for the next token, of each token alone."""
        return self.head(self.embedding(tokens))


def table(inputs=4, outputs=3, dtype="float32"):
    """A small perceptron for tables."""
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs)).to(getattr(torch, dtype))


def images(classes=4):
    """A convolution with BatchNorm for grey images."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, classes),
    )


class Viewing(nn.Module):
    """A convolution for images of three channels that flattens by `view`, which does not take what a
    convolution makes of channels last.
    """

    def __init__(self, classes=4, side=8):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3 * side * side, classes)

    def forward(self, images):
        """Logits, N x classes."""
        hidden = torch.relu(self.convolution(images))
        return self.head(hidden.view(hidden.size(0), -1))


class Flattening(Viewing):
    """The same function, which takes both."""

    def forward(self, images):
        """Logits, N x classes."""
        return self.head(torch.relu(self.convolution(images)).flatten(1))


class Striding(Viewing):
    """Reads the convolution's memory as if its channels came first, whatever they do."""

    def forward(self, images):
        """Logits, N x classes."""
        hidden = torch.relu(self.convolution(images))
        return self.head(hidden.as_strided((len(hidden), self.head.in_features), (self.head.in_features, 1)))


def wide():
    """More than a million parameters."""
    return nn.Sequential(nn.Linear(30, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 3))


def no_network():
    """What is no network."""
    return [1, 2]


def failing(**arguments):
    """A function that does not work."""
    raise RuntimeError("out of ideas\nand more lines")


def absolute(outputs, targets):
    """Mean of |output - target| of each sample."""
    return (outputs - targets).abs().flatten(1).mean(dim=1)


def apart(outputs, targets):
    """Of each sample, how badly it is told from the others of its batch."""
    return nn.functional.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)), reduction="none")


def mean_of_all(outputs, targets):
    """One number for the whole batch."""
    return ((outputs - targets) ** 2).mean()


def rate(outputs, targets):
    """Of counts, whose rate has the logarithm of the first output; the second is a dispersion."""
    return outputs[:, 0].exp() - targets * outputs[:, 0] + 0.01 * outputs[:, 1] ** 2


WEIGHTED = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 2.0, 5.0]))
