"""Recipes for other data."""

from lossmap.components.config.data import Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import Mlp
from lossmap.components.config.training import Training
from lossmap.pipelines.recipes.cifar10_gpu import cifar10_resnet20
from lossmap.pipelines.recipes.registry import OTHERS, under

recipe = under(OTHERS)


@recipe
def blobs_mlp() -> Experiment:
    """A small perceptron on four synthetic classes: a complete run in seconds, to see whether an
    installation works.
    """
    return Experiment(
        study="blobs",
        data=Data(source="blobs"),
        model=Mlp(hidden=(32,)),
        training=Training(epochs=5, batch_size=64),
        landscape=Landscape(samples=200),
    )


@recipe
def cifar100_resnet20() -> Experiment:
    """ResNet-20 on CIFAR-100 with the schedule of cifar10-resnet20."""
    return cifar10_resnet20().model_copy(update={"study": "cifar100", "data": Data(source="cifar100")})


@recipe
def fashion_mnist_resnet20() -> Experiment:
    """ResNet-20 on Fashion-MNIST with the schedule of cifar10-resnet20."""
    return cifar10_resnet20().model_copy(
        update={"study": "fashion-mnist", "data": Data(source="fashion-mnist")}
    )
