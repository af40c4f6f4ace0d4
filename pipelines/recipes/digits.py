"""Recipes for the 1,797 digits of scikit-learn, 8x8 pixels: every network is trained in seconds to a
minute on two cores.
"""

from lossmap.components.config.data import Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Curvature, Landscape
from lossmap.components.config.models import (
    DenseNet,
    Experts,
    Linear,
    MixtureOfExperts,
    Mlp,
    Model,
    MultiModel,
    PreactivationResNet,
    ResNet,
    Vgg,
    WideResNet,
)
from lossmap.components.config.training import Optimizer, Schedule, Training
from lossmap.pipelines.recipes.registry import DIGITS, under

recipe = under(DIGITS)

_PERCEPTRONS = Training(
    epochs=30, batch_size=128, optimizer=Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
)
_CONVOLUTIONS = Training(
    epochs=12,
    batch_size=64,
    optimizer=Optimizer(learning_rate=0.1, nesterov=True, weight_decay=5e-4),
    schedule=Schedule(warmup_epochs=1),
)
_UNBALANCED = Experts(importance_weight=0, load_weight=0)


@recipe
def digits_linear() -> Experiment:
    """Softmax regression on the 8x8 digits: a convex loss, to compare the others with."""
    return _digits(Linear(), _PERCEPTRONS)


@recipe
def digits_mlp() -> Experiment:
    """A perceptron with two hidden layers on the digits."""
    return _digits(Mlp(), _PERCEPTRONS)


@recipe
def digits_vgg9() -> Experiment:
    """VGG-9 of Li et al. 2018, a quarter as wide, on the digits."""
    return _digits(Vgg(channels=16))


@recipe
def digits_resnet20() -> Experiment:
    """ResNet-20 with its shortcuts on the digits."""
    return _digits(ResNet(depth=20))


@recipe
def digits_resnet20_noshort() -> Experiment:
    """ResNet-20 without shortcuts on the digits."""
    return _digits(ResNet(depth=20, shortcuts=False))


@recipe
def digits_resnet56() -> Experiment:
    """ResNet-56 with its shortcuts on the digits."""
    return _digits(ResNet(depth=56))


@recipe
def digits_resnet56_noshort() -> Experiment:
    """ResNet-56 without shortcuts on the digits."""
    return _digits(ResNet(depth=56, shortcuts=False))


@recipe
def digits_resnet110() -> Experiment:
    """ResNet-110 with its shortcuts on the digits."""
    return _digits(ResNet(depth=110))


@recipe
def digits_resnet110_noshort() -> Experiment:
    """ResNet-110 without shortcuts on the digits."""
    return _digits(ResNet(depth=110, shortcuts=False))


@recipe
def digits_preactivation_resnet() -> Experiment:
    """Pre-activation ResNet-20 on the digits."""
    return _digits(PreactivationResNet(depth=20))


@recipe
def digits_preactivation_resnet_noshort() -> Experiment:
    """Pre-activation ResNet-20 without shortcuts on the digits."""
    return _digits(PreactivationResNet(depth=20, shortcuts=False))


@recipe
def digits_wide_resnet() -> Experiment:
    """WRN-16-2, a wide ResNet, on the digits."""
    return _digits(WideResNet(depth=16, width=2))


@recipe
def digits_wide_resnet_noshort() -> Experiment:
    """WRN-16-2 without shortcuts on the digits."""
    return _digits(WideResNet(depth=16, width=2, shortcuts=False))


@recipe
def digits_densenet() -> Experiment:
    """DenseNet-BC of 22 layers and growth 12 on the digits."""
    return _digits(DenseNet(depth=22))


@recipe
def digits_moe() -> Experiment:
    """A perceptron with a mixture of 8 experts, 2 active, on the digits; balanced by both losses of
    Shazeer et al. 2017.
    """
    return _digits(MixtureOfExperts(), _PERCEPTRONS)


@recipe
def digits_moe_unbalanced() -> Experiment:
    """The perceptron with experts on the digits, without balance losses."""
    return _digits(MixtureOfExperts(experts=_UNBALANCED), _PERCEPTRONS)


@recipe
def digits_moe_convolutional() -> Experiment:
    """A convolutional network with a mixture of 8 experts at every place of the image, on the digits;
    balanced.
    """
    return _digits(MixtureOfExperts(body="convolutional", width=32))


@recipe
def digits_moe_convolutional_unbalanced() -> Experiment:
    """The convolutional network with experts on the digits, without balance losses."""
    return _digits(MixtureOfExperts(body="convolutional", width=32, experts=_UNBALANCED))


@recipe
def digits_multimodel() -> Experiment:
    """One network after MultiModel of Kaiser et al. 2017: digits as images, digits as tokens, and breast
    cancer as a table, trained jointly.
    """
    training = Training(
        epochs=10,
        batch_size=64,
        optimizer=Optimizer(algorithm="adam", learning_rate=0.003),
        schedule=Schedule(warmup_epochs=1),
    )
    return _digits(MultiModel(blocks=1, experts=Experts(count=4)), training, source="tasks")


def _digits(model: Model, training: Training = _CONVOLUTIONS, source: str = "digits") -> Experiment:
    # twice the usual batch of a survey: of 8x8 pixels it still stays in a CPU's cache
    survey = Landscape(pairs=3, adaptive=Adaptive(), curvature=Curvature(), batch_size=128)
    return Experiment(
        study="digits", data=Data(source=source), model=model, training=training, landscape=survey
    )
