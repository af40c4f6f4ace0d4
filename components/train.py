"""Step 2: train the network.

It takes the data set's digest and not its artifact: `prepare` makes a new artifact in every run, and
Kubeflow's cache goes by the artifact.
"""

from kfp import dsl
from kfp.dsl import Metrics, Model, Output


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def train(network: str, digest: str, software: str, model: Output[Model], metrics: Output[Metrics]) -> str:
    """Train the network by data-parallel processes.

    Args:
        network: the model and how it is trained, as JSON.
        digest: of the data set; with `network` and `software` it decides whether Kubeflow's cache answers.
        software: digest of what is installed.
        model: the trained network: where its weights are.
        metrics: loss and error on the training and the test images.

    Returns:
        Address of the training in the store.
    """
    from lossmap.components import pods

    return pods.train(model, metrics)
