"""Slow, obvious second implementations of the normalisations, in float64."""

import math


def scaled_to_unit_means(squares, sweeps):
    """P with rows and columns divided in turn by their means, columns first, number by number."""
    matrix = [[float(value) for value in row] for row in squares]
    outputs, inputs = len(matrix), len(matrix[0])
    for _ in range(sweeps):
        for j in range(inputs):
            mean = math.fsum(row[j] for row in matrix) / outputs
            for row in matrix:
                row[j] /= mean
        for i in range(outputs):
            mean = math.fsum(matrix[i]) / inputs
            matrix[i] = [value / mean for value in matrix[i]]
    return matrix


def model_normalized(direction, weights):
    """d / |d| |w| over all tensors together, with loops over every number."""
    norms = [
        math.sqrt(math.fsum(float(value) ** 2 for tensor in tensors.values() for value in tensor.flatten()))
        for tensors in (direction, weights)
    ]
    return {name: value / norms[0] * norms[1] for name, value in direction.items()}
