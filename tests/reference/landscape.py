"""Slow, obvious second implementations of the landscape's mathematics, in float64."""

import copy
import math


def filter_normalized(direction, weight):
    """Li et al. 2018: d_i / |d_i| * |w_i|, written with loops over every filter and every number."""
    result = direction.double().clone()
    for i in range(weight.shape[0]):
        weight_norm = math.sqrt(sum(float(value) ** 2 for value in weight[i].double().flatten()))
        direction_norm = math.sqrt(sum(float(value) ** 2 for value in direction[i].double().flatten()))
        for j, value in enumerate(direction[i].double().flatten()):
            result[i].view(-1)[j] = float(value) / direction_norm * weight_norm
    return result


def naive_point(network, x_direction, y_direction, x, y, inputs, labels):
    """Mean loss, share of wrong answers, and standard error at one point: a deep copy of the network, one image at a time."""
    moved = copy.deepcopy(network).double().eval()
    for name, parameter in moved.named_parameters():
        parameter.data = parameter.data + x * x_direction[name].double() + y * y_direction[name].double()
    losses, wrong = [], 0
    for image, label in zip(inputs, labels, strict=True):
        logits = moved(image.double()[None])[0].tolist()
        top = max(logits)
        losses.append(top + math.log(sum(math.exp(value - top) for value in logits)) - logits[int(label)])
        wrong += logits.index(top) != int(label)
    mean = sum(losses) / len(losses)
    variance = sum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1)
    return mean, wrong / len(losses), math.sqrt(variance / len(losses))
