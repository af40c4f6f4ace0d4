"""Slow, obvious second implementations of the convolutional networks: plain functions of the weights,
which they use up in order.
"""

import torch
import torch.nn.functional as F


class Weights:
    """The tensors of a network's state in the order in which its layers have them, each used once."""

    def __init__(self, network):
        state = network.state_dict().items()
        self._tensors = iter([tensor for name, tensor in state if not name.endswith("num_batches_tracked")])

    def take(self, count=1):
        """The next tensors."""
        return [next(self._tensors) for _ in range(count)]

    def left(self):
        """How many were not used."""
        return len(list(self._tensors))

    def norm(self, x):
        """(x - mean) / sqrt(variance + 1e-5) gamma + beta, channel by channel, with the running
        statistics.
        """
        gamma, beta, mean, variance = self.take(4)
        normalized = [
            (x[:, c] - mean[c]) / torch.sqrt(variance[c] + 1e-5) * gamma[c] + beta[c]
            for c in range(x.shape[1])
        ]
        return torch.stack(normalized, dim=1)

    def convolution(self, x, stride=1):
        """Square kernel, zeros around the image, no bias."""
        (kernel,) = self.take()
        return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def activated(self, x):
        """relu(norm(x))."""
        return self.norm(x).clamp(min=0)

    def classifier(self, x):
        """Mean over the pixels, then the linear layer."""
        return self.linear(x.mean(dim=(2, 3)))

    def linear(self, x):
        """W x + b."""
        matrix, bias = self.take(2)
        return x @ matrix.T + bias


def vgg(network, x, stages):
    """Convolutions with biases of each stage, and the largest of each 2x2 pixels behind it."""
    weights = Weights(network)
    for convolutions in stages:
        for _ in range(convolutions):
            kernel, bias = weights.take(2)
            x = weights.activated(F.conv2d(x, kernel, bias, padding=1))
        x = _pixels(x, max)
    x = weights.activated(weights.linear(x.reshape(len(x), -1)))
    return weights.linear(x), weights.left()


def residual(network, x, model, blocks, kernels):
    """Pre-activation blocks of `kernels` convolutions; three stages. The first activation is shared where the
    block changes the shape.

    A network of He et al. shares it in its first block, too, and with basic blocks it fills the missing
    channels with zeros.
    """
    weights = Weights(network)
    he = model.architecture == "preactivation-resnet"
    zeros = he and not model.bottleneck
    x = weights.convolution(x)
    for stage in range(3):
        for index in range(blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            first = a = weights.activated(x)
            for place in range(kernels):
                a = weights.convolution(
                    a if place == 0 else weights.activated(a), stride if place == 0 else 1
                )
            changes = a.shape != x.shape
            kept = first if changes or (he and stage == index == 0) else x
            if model.shortcuts and changes:
                kept = (
                    _zeros_around(kept[:, :, ::stride, ::stride], a.shape[1])
                    if zeros
                    else weights.convolution(kept, stride)
                )
            x = a + kept if model.shortcuts else a
    return weights.classifier(weights.activated(x)), weights.left()


def densenet(network, x, blocks, bottleneck):
    """Each layer reads all that the ones before it in its block made, and adds its own behind."""
    weights = Weights(network)
    x = weights.convolution(x)
    for index, layers in enumerate(blocks):
        if index > 0:
            x = _pixels(weights.convolution(weights.activated(x)), lambda pixels: sum(pixels) / len(pixels))
        for _ in range(layers):
            new = weights.convolution(weights.activated(x))
            x = torch.cat([x, weights.convolution(weights.activated(new)) if bottleneck else new], dim=1)
    return weights.classifier(weights.activated(x)), weights.left()


def _zeros_around(x, channels):
    padded = x.new_zeros(len(x), channels, *x.shape[2:])
    before = (channels - x.shape[1]) // 2
    padded[:, before : before + x.shape[1]] = x
    return padded


def _pixels(x, reduce):
    """What `reduce` makes of each 2x2 pixels, or of those that there are at an odd edge; one number at a
    time.
    """
    height, width = x.shape[2:]
    rows = []
    for top in range(0, height, 2):
        places = [
            [
                x[:, :, i, j]
                for i in range(top, min(top + 2, height))
                for j in range(left, min(left + 2, width))
            ]
            for left in range(0, width, 2)
        ]
        rows.append(torch.stack([_reduced(pixels, reduce) for pixels in places], dim=2))
    return torch.stack(rows, dim=2)


def _reduced(pixels, reduce):
    shape = pixels[0].shape
    numbers = [reduce(each) for each in zip(*(pixel.flatten().tolist() for pixel in pixels), strict=True)]
    return torch.tensor(numbers, dtype=pixels[0].dtype).reshape(shape)
