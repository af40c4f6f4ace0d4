"""Slow, obvious second implementations of MultiModel's blocks: one sample, one place, one number at a
time, in float64.
"""

import math

import torch


def layer_norm(vector, norm):
    """(v - mean) / sqrt(variance + epsilon) * weight + bias, of one vector."""
    mean = sum(vector.tolist()) / len(vector)
    variance = sum((value - mean) ** 2 for value in vector.tolist()) / len(vector)
    return (vector - mean) / math.sqrt(variance + norm.eps) * norm.weight + norm.bias


def convolution_step(x, step):
    """LayerNorm(pointwise(depthwise(ReLU(x)))) of one sequence L x W."""
    length, width = x.shape
    size, dilation = step.depthwise.kernel_size[0], step.depthwise.dilation[0]
    result = torch.zeros_like(x)
    for place in range(length):
        mixed = torch.zeros(width, dtype=x.dtype)
        for channel in range(width):
            for tap in range(size):
                at = place + dilation * (tap - size // 2)
                if 0 <= at < length:
                    mixed[channel] += step.depthwise.weight[channel, 0, tap] * max(float(x[at, channel]), 0.0)
        result[place] = layer_norm(step.pointwise.weight @ mixed + step.pointwise.bias, step.norm)
    return result


def timing(length, width):
    """Sines in the first half of the width, cosines in the second."""
    half = math.ceil(width / 2)
    waves = [
        [function(place * 10_000.0 ** (-i / half)) for function in (math.sin, math.cos) for i in range(half)]
        for place in range(length)
    ]
    return torch.tensor(waves, dtype=torch.float64)[:, :width]


def attention(x, block):
    """The attention block on one sequence L x W, one head and one place at a time."""
    length, width = x.shape
    d = width // block.heads
    signal = timing(length, width)
    normed = torch.stack([layer_norm(x[place] + signal[place], block.norm) for place in range(length)])
    projected = normed @ block.inputs.weight.T + block.inputs.bias
    queries, keys, values = projected[:, :width], projected[:, width : 2 * width], projected[:, 2 * width :]
    result = torch.zeros_like(x)
    for place in range(length):
        heads = []
        for head in range(block.heads):
            own = slice(head * d, (head + 1) * d)
            scores = [
                math.exp(float(queries[place, own] @ keys[other, own]) / math.sqrt(d))
                for other in range(length)
            ]
            heads.append(sum(score / sum(scores) * values[other, own] for other, score in enumerate(scores)))
        result[place] = x[place] + block.output.weight @ torch.cat(heads) + block.output.bias
    return result
