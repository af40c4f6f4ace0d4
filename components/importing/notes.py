"""What lossmap chose for an imported network that its author may have chosen otherwise."""

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Imported
from lossmap.components.core.errors import ExperimentError


def import_notes(experiment: Experiment, manifest: Manifest) -> list[str]:
    """Lines for people.

    Raises:
        ExperimentError: a network that lossmap trains has tensors as data.
    """
    if not isinstance(experiment.model, Imported):
        if manifest.kind == "tensors":
            raise ExperimentError(
                f"data.source is {experiment.data.source!r}, files of tensors, and model.architecture is"
                f" {experiment.model.architecture}, expected images: only imported networks take tensors"
            )
        return []
    if manifest.kind != "images" or experiment.data.mean:
        return []
    mean, deviation = (
        "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
        for values in (manifest.mean, manifest.deviation)
    )
    return [
        f"images are normalised by the mean {mean} and the deviation {deviation} of the training images; what"
        " the network was trained with goes to data.mean and data.deviation"
    ]
