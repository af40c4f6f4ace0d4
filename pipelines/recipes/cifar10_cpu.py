"""Recipes for CIFAR-10 on CPUs, in minutes. All have one budget, so that their test errors can be compared;
it is no paper's.

The budget: 10,000 of the 50,000 training images and 10 epochs of them in batches of 128, that is 780 steps;
crops and mirrored images; a learning rate that rises for one epoch and then falls as a cosine, from 0.1 for
convolutional networks and from 0.01 for the others; Nesterov's momentum 0.9, weight decay 5e-4; errors on all
10,000 test images.
"""

from lossmap.components.config.data import Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Axis, Curvature, Landscape, Plane
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
from lossmap.components.config.training import Augmentation, Optimizer, Schedule, Training
from lossmap.pipelines.recipes.registry import CIFAR10_ON_CPUS, under

recipe = under(CIFAR10_ON_CPUS)

_UNBALANCED = Experts(importance_weight=0, load_weight=0)


@recipe
def cifar10_linear_cpu() -> Experiment:
    """Softmax regression on CIFAR-10, CPU budget."""
    return _on_cpus(Linear(), learning_rate=0.01)


@recipe
def cifar10_mlp_cpu() -> Experiment:
    """A perceptron with two hidden layers of 256 on CIFAR-10, CPU budget."""
    return _on_cpus(Mlp(hidden=(256, 256)), learning_rate=0.01)


@recipe
def cifar10_vgg9_cpu() -> Experiment:
    """VGG-9 of Li et al. 2018, a quarter as wide, on CIFAR-10, CPU budget."""
    return _on_cpus(Vgg(channels=16))


@recipe
def cifar10_resnet20_cpu() -> Experiment:
    """ResNet-20 on CIFAR-10, CPU budget."""
    return _on_cpus(ResNet(depth=20))


@recipe
def cifar10_resnet20_noshort_cpu() -> Experiment:
    """ResNet-20 without shortcuts on CIFAR-10, CPU budget."""
    return _on_cpus(ResNet(depth=20, shortcuts=False))


@recipe
def cifar10_resnet56_cpu() -> Experiment:
    """ResNet-56 on CIFAR-10, CPU budget."""
    return _on_cpus(ResNet(depth=56))


@recipe
def cifar10_resnet56_noshort_cpu() -> Experiment:
    """ResNet-56 without shortcuts on CIFAR-10, CPU budget."""
    return _on_cpus(ResNet(depth=56, shortcuts=False))


@recipe
def cifar10_resnet110_cpu() -> Experiment:
    """ResNet-110 on CIFAR-10, CPU budget."""
    return _on_cpus(ResNet(depth=110))


@recipe
def cifar10_resnet110_noshort_cpu() -> Experiment:
    """ResNet-110 without shortcuts on CIFAR-10, CPU budget."""
    return _on_cpus(ResNet(depth=110, shortcuts=False))


@recipe
def cifar10_preactivation_resnet_cpu() -> Experiment:
    """Pre-activation ResNet-20 on CIFAR-10, CPU budget."""
    return _on_cpus(PreactivationResNet(depth=20))


@recipe
def cifar10_preactivation_resnet_noshort_cpu() -> Experiment:
    """Pre-activation ResNet-20 without shortcuts on CIFAR-10, CPU budget."""
    return _on_cpus(PreactivationResNet(depth=20, shortcuts=False))


@recipe
def cifar10_wide_resnet_cpu() -> Experiment:
    """WRN-16-2, a wide ResNet, on CIFAR-10, CPU budget."""
    return _on_cpus(WideResNet(depth=16, width=2))


@recipe
def cifar10_wide_resnet_noshort_cpu() -> Experiment:
    """WRN-16-2 without shortcuts on CIFAR-10, CPU budget."""
    return _on_cpus(WideResNet(depth=16, width=2, shortcuts=False))


@recipe
def cifar10_densenet_cpu() -> Experiment:
    """DenseNet-BC of 40 layers and growth 12 on CIFAR-10, CPU budget."""
    return _on_cpus(DenseNet(depth=40))


@recipe
def cifar10_moe_cpu() -> Experiment:
    """A perceptron with a mixture of 8 experts, 2 active, on CIFAR-10, CPU budget; balanced by both losses
    of Shazeer et al. 2017.
    """
    return _on_cpus(MixtureOfExperts(width=256, experts=Experts(hidden=256)), learning_rate=0.01)


@recipe
def cifar10_moe_unbalanced_cpu() -> Experiment:
    """The perceptron with experts on CIFAR-10, CPU budget, without balance losses."""
    return _on_cpus(
        MixtureOfExperts(width=256, experts=_UNBALANCED.model_copy(update={"hidden": 256})),
        learning_rate=0.01,
    )


@recipe
def cifar10_moe_convolutional_cpu() -> Experiment:
    """A convolutional network with a mixture of 8 experts at every place of the image, on CIFAR-10, CPU
    budget; balanced.
    """
    return _on_cpus(MixtureOfExperts(body="convolutional", width=32))


@recipe
def cifar10_moe_convolutional_unbalanced_cpu() -> Experiment:
    """The convolutional network with experts on CIFAR-10, CPU budget, without balance losses."""
    return _on_cpus(MixtureOfExperts(body="convolutional", width=32, experts=_UNBALANCED))


@recipe
def cifar10_multimodel_cpu() -> Experiment:
    """One network after MultiModel of Kaiser et al. 2017: CIFAR-10's images, digits as tokens, breast
    cancer as a table; CPU budget, by Adam.
    """
    adam = {
        "optimizer": Optimizer(algorithm="adam", learning_rate=0.003),
        "augmentation": Augmentation(),
        "channels_last": False,
    }
    training = cifar10_resnet20_cpu().training_settings.model_copy(update=adam)
    data = Data(source="tasks", tasks=("images", "digits-tokens", "breast-cancer"), limit=10_000)
    return cifar10_resnet20_cpu().model_copy(
        update={"data": data, "model": MultiModel(blocks=1, experts=Experts(count=4)), "training": training}
    )


def _on_cpus(model: Model, learning_rate: float = 0.1) -> Experiment:
    axis = Axis(points=21)
    return Experiment(
        study="cifar10-cpu",
        data=Data(source="cifar10", limit=10_000),
        model=model,
        training=Training(
            epochs=10,
            batch_size=128,
            optimizer=Optimizer(learning_rate=learning_rate, nesterov=True, weight_decay=5e-4),
            schedule=Schedule(warmup_epochs=1),
            augmentation=Augmentation(crop_padding=4, flip=True),
            channels_last=True,
        ),
        landscape=Landscape(
            pairs=3,
            plane=Plane(x=axis, y=axis),
            adaptive=Adaptive(spacing=5),
            line=Axis(points=41),
            curvature=Curvature(),
        ),
    )
