"""What each number of a report is, in one or two sentences."""

from collections.abc import Mapping

from lossmap.components.config.scalars import measure_of

_PLANES = "the planes, one for each pair of directions"

DEFINITIONS: Mapping[str, str] = {
    "test_error": "Share of the test samples that the network gets wrong.",
    "test_loss": "Mean loss over all test samples.",
    "train_error": "Share of the training samples that the network gets wrong, after training.",
    "train_loss": "Mean loss over all training samples, after training.",
    "parameters": "How many numbers the network has that training can change.",
    "training_seconds": "How long training took, in seconds.",
    "centre_loss": "Loss at the trained weights, the point (0, 0), on the survey's samples.",
    "floor": f"Least finite loss, the mean over {_PLANES}.",
    "ceiling": f"Greatest finite loss, the mean over {_PLANES}.",
    "basin_fraction": (
        "Share of the plane's points with less loss than by guessing uniformly, ln C for C classes; with a"
        " number behind it, with less loss than that."
    ),
    "centre_basin_fraction": (
        "As the basin's share, of the points that are reached from the trained weights by steps to neighbours"
        " below the threshold."
    ),
    "convex_fraction": (
        "Share of the inner points at which the loss curves upwards in every direction, as far as second"
        " differences between neighbouring points tell."
    ),
    "roughness": (
        "Root mean square of the second differences of ln loss over the squared step; it depends on the step."
    ),
    "spacing": "The larger step between neighbouring points, in lengths of a direction.",
    "minima": (
        "Local minima of ln loss from which one has to climb more than 1 % of its range to a lower one. A"
        " minimum narrower than the grid's step is not seen."
    ),
    "largest_persistence": (
        "How far one has to climb from the second most persistent minimum to get to a lower one, as ln of the"
        " ratio of losses; 0 where there is one minimum."
    ),
    "rise": "Largest rise of the loss on a walk along an axis from the trained weights outwards.",
    "fall": (
        "Largest fall of the loss on a walk along an axis from the trained weights outwards; 0 where the loss"
        " only rises."
    ),
    "hessian_largest": (
        "Greatest eigenvalue of the Hessian of the mean loss at the trained weights: the curvature along the"
        " direction of greatest curvature. Rescaling weights changes it."
    ),
    "hessian_smallest": "Least eigenvalue of the Hessian at the trained weights; negative along a descent.",
    "hessian_negative_to_positive": (
        "Minus the least over the greatest eigenvalue of the Hessian: 1 where curvature is as negative as"
        " positive, below 0 where it is nowhere negative."
    ),
    "hessian_trace": "Sum of the Hessian's eigenvalues at the trained weights.",
    "hessian_convex_fraction": "Share of the grid's points where no eigenvalue of the Hessian is negative.",
    "effective_dimension": (
        "Sum of eigenvalue / (eigenvalue + alpha) over the Hessian's positive eigenvalues: how many"
        " directions the data determine."
    ),
    "gauss_newton_largest": "Greatest eigenvalue of the generalised Gauss-Newton matrix.",
    "gauss_newton_trace": "Trace of the generalised Gauss-Newton matrix.",
    "fisher_largest": "Greatest eigenvalue of the Fisher matrix.",
    "fisher_trace": "Trace of the Fisher matrix.",
    "empirical_fisher_largest": "Greatest eigenvalue of the mean of the samples' gradients' outer products.",
    "empirical_fisher_trace": "Mean squared length of the samples' gradients.",
    "worst_case_sharpness": "Greatest rise of the loss that was found within a ball of this radius.",
    "adaptive_worst_case_sharpness": (
        "Greatest rise of the loss that was found within a ball whose radius follows each weight's size."
    ),
    "average_case_sharpness": "Mean rise of the loss under normal noise of this size in all weights.",
    "adaptive_average_case_sharpness": (
        "Mean rise of the loss under normal noise in proportion to each weight's size."
    ),
    "keskar_box_sharpness": "Greatest rise of the loss in a box around the weights (Keskar et al. 2017).",
    "balance_loss": "What uneven use of the experts adds to the loss, in the last epoch.",
    "importance_cv": "Deviation over mean of the experts' summed gate values, in the last epoch.",
    "load_cv": "Deviation over mean of how many samples each expert gets, in the last epoch.",
    "load_max_over_mean": "Samples of the busiest expert over the mean, in the last epoch.",
    "dropped_share": "Share of the assignments that exceeded an expert's capacity, in the last epoch.",
    "trajectory_explained": "Share of the path of training's squared length that lies in the plane.",
    "points": "Points of the grid of the first plane.",
    "evaluated_points": "Points of it at which the loss was evaluated; the others are interpolated.",
    "masked_points": "Points of it without a finite loss.",
}


def definition(name: str) -> str:
    """What a scalar of a report is; empty where its measure has no definition here."""
    text = DEFINITIONS.get(measure_of(name), "")
    if name.startswith("line_") and text:
        return f"On the lines along the first directions: {text[0].lower()}{text[1:]}"
    return text
