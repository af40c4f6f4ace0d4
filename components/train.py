"""Step 2: train the network."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def train(network: str, digest: str, software: str, dataset: Input[Dataset], model: Output[Model], metrics: Output[Metrics]) -> str:
    """Train the network by data-parallel processes.

    Args:
        network: the model and how it is trained, as JSON.
        digest: of the data set; with `network` and `software` it decides whether Kubeflow's cache answers.
        software: digest of what is installed.
        dataset: the packed data set.
        model: the trained network: where its weights are.
        metrics: loss and error on the training and the test images.

    Returns:
        Address of the training in the store.
    """
    from lossmap.components import pods

    return pods.train(model, metrics)
