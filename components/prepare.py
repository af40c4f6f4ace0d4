"""Step 1: pack the data set."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Output


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def prepare(experiment: str, dataset: Output[Dataset]) -> NamedTuple(
    "Prepared", [("digest", str), ("software", str)]
):
    """Keep the experiment and pack its data set in the store.

    Args:
        experiment: the experiment as JSON.
        dataset: the packed data set: its manifest.

    Returns:
        digest: of the data set.
        software: digest of everything that is installed in the image.
    """
    from lossmap.components import pods

    return pods.prepare(experiment, dataset)
