"""Give a direction the scale of the weights, so that surveys of different networks can be compared."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lossmap.components.config.landscape import Normalization
from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.directions.filters import OUTPUTS_FIRST, Layout

_ITERATIONS = 5000
_PRECISION = 1e-13


def normalize(
    direction: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    normalization: Normalization,
    ignore_bias_and_norm: bool,
    layouts: Mapping[str, Layout] | None = None,
) -> dict[str, Tensor]:
    """Give a direction d the scale of the weights w.

    none     d as it is
    model    d <- d / |d| |w| over all parameters that move, together
    layer    d <- d / |d| |w| for each parameter tensor
    filter   d_i <- d_i / |d_i| |w_i| for each filter i: the weights that lead to one output channel or
             neuron (Li et al. 2018, section 4)
    element  d_i <- |w_i| d_i for each number (T_w of Kwon et al. 2021, ASAM, eq. 3)
    neuron   d_ij <- r_i c_j d_ij for the weights from input j to output i: see `neuron_scale`

    Which of them leave the picture of a rescaled network as it was: see `invariance`. Norms are Euclidean, in
    float64. A parameter with one dimension or none (bias, BatchNorm) has no filters and no inputs: filter
    treats it as layer, neuron as element, and with `ignore_bias_and_norm` it does not move. Where the weights
    are zero, so is the direction.

    Args:
        direction: by parameter.
        weights: of the trained network, by parameter.
        normalization: one of the above.
        ignore_bias_and_norm: leave parameters with one dimension or none where they are.
        layouts: of weights that are not outputs x inputs x …, by parameter (`filters.filter_layouts`).

    Raises:
        ExperimentError: neuron, and the pattern of zeros of a weight admits no scaling.
    """
    layouts = layouts or {}
    still = {name for name, value in direction.items() if ignore_bias_and_norm and value.dim() <= 1}
    d = {
        name: layouts.get(name, OUTPUTS_FIRST).moving(value.double())
        for name, value in direction.items()
        if name not in still
    }
    w = {name: weights[name].detach().to(value) for name, value in d.items()}
    if normalization == "model":
        factor = _ratio(_norm(w), _norm(d))
        scaled = {name: factor * value for name, value in d.items()}
    else:
        scaled = {
            name: _scaled(name, value, w[name], normalization, layouts.get(name, OUTPUTS_FIRST))
            for name, value in d.items()
        }
    return {
        name: torch.zeros_like(value, dtype=torch.float64) if name in still else scaled[name]
        for name, value in direction.items()
    }


def neuron_scale(weight: Tensor, groups: int = 1) -> Tensor:
    """The factors r_i c_j / sqrt(K), which see of the weights only what every rescaling of neurons has to
    leave.

    Let P_ij = sum_k w_ijk^2 over the K positions of the kernel from input j to output i (K = 1 in a matrix).
    Choose r, c > 0 so that P_ij / (r_i^2 c_j^2) has mean 1 in every row and in every column. This is the
    matrix that Sinkhorn scaling finds, and it is unique (Sinkhorn and Knopp 1967); so are, where P_ij > 0,
    the products r_i c_j. Where P_ij = 0 the factor is set to zero.

    Why the picture is invariant. Rescale neurons: w'_ijk = a_i w_ijk / b_j with a, b > 0, as a network may
    whose activations commute with positive factors, or whose BatchNorm undoes them. Then P'_ij = a_i^2 P_ij /
    b_j^2, and r'_i = a_i r_i, c'_j = c_j / b_j solve its problem; their products are unique: d'_ijk = a_i
    d_ijk / b_j. Hence w' + x d' is w + x d rescaled by the same a and b, at every x, and computes the same
    function. A whole layer's factor is the case of equal a_i. Vectors (biases, BatchNorm) follow by
    |w_i|: |a_i w_i| d_i = a_i |w_i| d_i. The element-wise |w_ij| d_ij is invariant for the same reason, but
    hardly moves what is small; here all weights between two layers move in proportion to how strong their
    output and their input are.

    With standard normal d the factors 1 / sqrt(K) give each kernel the expected squared norm r_i^2 c_j^2,
    which is P_ij on average.

    A row or column of zeros is left out. Each group of a grouped convolution is a problem of its own.
    Iterated in float64 until all means are 1 to 1e-13.

    Args:
        weight: outputs x inputs / groups x …
        groups: of the convolution.

    Returns:
        outputs x inputs / groups x 1 …, float64.

    Raises:
        ExperimentError: there are no such r and c, or they are not reached: zeros leave too few positive
            P_ij, as in a triangular matrix.
    """
    squares = weight.detach().double() ** 2
    if weight.dim() > 2:
        squares = squares.flatten(2).sum(dim=2)
    scale = torch.cat([_sinkhorn(part) for part in squares.chunk(groups)]).sqrt()
    positions = weight[0, 0].numel() if weight.numel() else 1
    shaped: Tensor = (scale / positions**0.5).reshape(*scale.shape, *[1] * (weight.dim() - 2))
    return shaped


def _sinkhorn(squares: Tensor) -> Tensor:
    """r_i^2 c_j^2 for one matrix P."""
    rows, columns = squares.sum(dim=1) > 0, squares.sum(dim=0) > 0
    result = torch.zeros_like(squares)
    if rows.any():
        result[rows.outer(columns)] = _scaling(squares[rows][:, columns]).flatten()
    return result.where(squares > 0, 0.0)


def _scaling(squares: Tensor) -> Tensor:
    outputs, inputs = squares.shape
    row = inputs / squares.sum(dim=1)  # 1 / r^2
    for _ in range(_ITERATIONS):
        column = outputs / (row @ squares)  # 1 / c^2
        sums = squares @ column
        if bool(((row * sums / inputs - 1).abs() < _PRECISION).all()):
            return 1 / row.outer(column)
        row = inputs / sums
    raise ExperimentError("has zeros that leave its rows and columns no common scale")


def _scaled(
    name: str, direction: Tensor, weight: Tensor, normalization: Normalization, layout: Layout
) -> Tensor:
    if direction.dim() <= 1 or normalization not in ("filter", "neuron"):
        return _scaled_as_one(direction, weight, normalization)
    d, w = layout.to_filters(direction), layout.to_filters(weight)
    if normalization == "filter":
        scaled = d * _ratio(w.flatten(1).norm(dim=1), d.flatten(1).norm(dim=1)).reshape(
            -1, *[1] * (d.dim() - 1)
        )
    else:
        scaled = _neuron_scale_of(name, w, layout.groups_of(weight)) * d
    return layout.from_filters(scaled, like=weight)


def _scaled_as_one(direction: Tensor, weight: Tensor, normalization: Normalization) -> Tensor:
    if normalization == "none":
        return direction
    if normalization in ("element", "neuron"):
        return weight.abs() * direction
    return direction * _ratio(weight.norm(), direction.norm())


def _neuron_scale_of(name: str, weight: Tensor, groups: int) -> Tensor:
    try:
        return neuron_scale(weight, groups)
    except ExperimentError as error:
        raise ExperimentError(
            f"normalization is neuron and {name} {error}, expected weights that are not pruned; use"
            " normalization element"
        ) from None


def _ratio(weight: Tensor, direction: Tensor) -> Tensor:
    """|w| / |d|; 0 where the direction is zero, which it then stays."""
    return torch.where(direction == 0, torch.zeros_like(weight), weight / direction)


def _norm(tensors: Mapping[str, Tensor]) -> Tensor:
    return sum(
        ((tensor**2).sum() for tensor in tensors.values()), start=torch.zeros((), dtype=torch.float64)
    ).sqrt()
