"""A slow, obvious second implementation of the interpolant, in float64."""

import math

import numpy as np


def cubic(points, values, place):
    """s(p) = Σ c_i |p - p_i|³ + a + b·p with Σ c_i = Σ c_i p_i = 0 and s(p_i) = v_i: the whole system,
    entry by entry.
    """
    n = len(points)
    matrix, right = np.zeros((n + 3, n + 3)), np.zeros(n + 3)
    for i, (x, y) in enumerate(points):
        for j, (u, v) in enumerate(points):
            matrix[i, j] = math.hypot(x - u, y - v) ** 3
        matrix[i, n:] = matrix[n:, i] = (1, x, y)
        right[i] = values[i]
    solution = np.linalg.solve(matrix, right)
    x, y = place
    radial = sum(solution[i] * math.hypot(x - u, y - v) ** 3 for i, (u, v) in enumerate(points))
    return radial + solution[n] + solution[n + 1] * x + solution[n + 2] * y
