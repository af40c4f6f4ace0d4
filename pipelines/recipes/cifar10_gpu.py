"""Recipes for CIFAR-10 at the papers' schedules, which need GPUs: on a cluster they ask for them.

Sources of the schedules:
    He et al. 2016a (arXiv 1512.03385), section 4.2: 64,000 steps of 128 images, which are 164 epochs, rate
    0.1 divided by ten after 32,000 and 48,000. He et al. 2016b (arXiv 1603.05027), appendix: the same, with a
    rate of 0.01 in the first 400 steps; here the rate rises over the first epoch. Li et al. 2018 (arXiv
    1712.09913), and cifar10/main.py of github.com/tomgoldstein/loss-landscape: 300 epochs, divided by ten
    after 150, 225 and 275,
        Nesterov's momentum 0.9, weight decay 5e-4.
    Zagoruyko & Komodakis 2016 (arXiv 1605.07146), section 3, and their scripts/train_cifar.sh: 200 epochs,
    times 0.2 after 60, 120 and 160. They fill crops
        by reflection, lossmap with zeros.
    Huang et al. 2017 (arXiv 1608.06993), section 4.2: 300 epochs of batches of 64, divided by ten after half
    and three quarters.
A survey on GPUs, too, needs `--set landscape.device=cuda`.
"""

from lossmap.components.config.cluster import Cluster
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
from lossmap.components.config.training import Augmentation, Optimizer, Schedule, Training
from lossmap.pipelines.recipes.registry import CIFAR10_ON_GPUS, under

recipe = under(CIFAR10_ON_GPUS)

_AUGMENTED = Augmentation(crop_padding=4, flip=True)
_HE = Training(
    epochs=164,
    batch_size=128,
    optimizer=Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
    schedule=Schedule(shape="step", milestones=(82, 123)),
    augmentation=_AUGMENTED,
    channels_last=True,
    trajectory_every=4,
)
_HE_WARM = _HE.model_copy(
    update={"schedule": Schedule(shape="step", milestones=(82, 123), warmup_epochs=1.0)}
)
_ZAGORUYKO = Training(
    epochs=200,
    batch_size=128,
    optimizer=Optimizer(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    schedule=Schedule(shape="step", milestones=(60, 120, 160), decay=0.2),
    augmentation=_AUGMENTED,
    channels_last=True,
    trajectory_every=20,
    processes=1,
)
_HUANG = Training(
    epochs=300,
    batch_size=64,
    optimizer=Optimizer(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    schedule=Schedule(shape="step", milestones=(150, 225)),
    augmentation=_AUGMENTED,
    channels_last=True,
    trajectory_every=10,
    processes=1,
)
_UNBALANCED = Experts(hidden=256, importance_weight=0, load_weight=0)


@recipe
def cifar10_linear() -> Experiment:
    """Softmax regression on CIFAR-10; the schedule is ours."""
    training = Training(
        epochs=20, optimizer=Optimizer(learning_rate=0.01, weight_decay=1e-4), trajectory_every=5
    )
    return _on_gpus(Linear(), training)


@recipe
def cifar10_mlp() -> Experiment:
    """A perceptron with two hidden layers of 512 on CIFAR-10; the schedule is ours."""
    return _on_gpus(Mlp(hidden=(512, 512)), _ours(learning_rate=0.01))


@recipe
def cifar10_vgg9() -> Experiment:
    """VGG-9 on CIFAR-10, the small batch of Li et al. 2018: batch 128, weight decay 5e-4."""
    return _on_gpus(Vgg(), _li())


@recipe
def cifar10_vgg9_large_batch() -> Experiment:
    """VGG-9 on CIFAR-10, the large batch of Li et al. 2018: batch 8,192, weight decay 5e-4."""
    return _on_gpus(Vgg(), _li(batch_size=8192))


@recipe
def cifar10_vgg9_no_decay() -> Experiment:
    """VGG-9 on CIFAR-10, batch 128 without weight decay: un-normalised pictures of small and large batch
    change places.
    """
    return _on_gpus(Vgg(), _li(weight_decay=0.0))


@recipe
def cifar10_vgg9_large_batch_no_decay() -> Experiment:
    """VGG-9 on CIFAR-10, batch 8,192 without weight decay."""
    return _on_gpus(Vgg(), _li(batch_size=8192, weight_decay=0.0))


@recipe
def cifar10_resnet20() -> Experiment:
    """ResNet-20 on CIFAR-10 with the schedule of He et al. 2016: 164 epochs, rate 0.1 divided by ten at 82
    and 123.
    """
    return _on_gpus(ResNet(depth=20), _HE)


@recipe
def cifar10_resnet20_noshort() -> Experiment:
    """ResNet-20 without shortcuts on CIFAR-10."""
    return _on_gpus(ResNet(depth=20, shortcuts=False), _HE)


@recipe
def cifar10_resnet56() -> Experiment:
    """ResNet-56 on CIFAR-10, the smooth half of the famous pair of Li et al. 2018."""
    return _on_gpus(ResNet(depth=56), _HE)


@recipe
def cifar10_resnet56_noshort() -> Experiment:
    """ResNet-56 without shortcuts on CIFAR-10, the half that is said to be chaotic."""
    return _on_gpus(ResNet(depth=56, shortcuts=False), _HE)


@recipe
def cifar10_resnet110() -> Experiment:
    """ResNet-110 on CIFAR-10; one warm-up epoch, as He et al. needed one."""
    return _on_gpus(ResNet(depth=110), _HE_WARM)


@recipe
def cifar10_resnet110_noshort() -> Experiment:
    """ResNet-110 without shortcuts on CIFAR-10; He et al. say that it stays above 60 % error."""
    return _on_gpus(ResNet(depth=110, shortcuts=False), _HE_WARM)


@recipe
def cifar10_resnet20_li() -> Experiment:
    """ResNet-20 on CIFAR-10 as Li et al. 2018 trained it: 300 epochs, weight decay 5e-4."""
    return _on_gpus(ResNet(depth=20), _li())


@recipe
def cifar10_resnet20_noshort_li() -> Experiment:
    """ResNet-20 without shortcuts on CIFAR-10 as Li et al. 2018 trained it."""
    return _on_gpus(ResNet(depth=20, shortcuts=False), _li())


@recipe
def cifar10_resnet56_li() -> Experiment:
    """ResNet-56 on CIFAR-10 as Li et al. 2018 trained it for their figure 1."""
    return _on_gpus(ResNet(depth=56), _li())


@recipe
def cifar10_resnet56_noshort_li() -> Experiment:
    """ResNet-56 without shortcuts on CIFAR-10, rate 0.1 as in the scripts of Li et al. 2018.

    The paper's text says 0.01 for this network; the file that script/2d_contour_resnet_noshort.sh draws is
    named lr=0.1. Try both: `--set training.optimizer.learning_rate=0.01`.
    """
    return _on_gpus(ResNet(depth=56, shortcuts=False), _li())


@recipe
def cifar10_resnet110_li() -> Experiment:
    """ResNet-110 on CIFAR-10 as Li et al. 2018 trained it."""
    return _on_gpus(ResNet(depth=110), _li())


@recipe
def cifar10_resnet110_noshort_li() -> Experiment:
    """ResNet-110 without shortcuts on CIFAR-10, rate 0.01 as in both text and scripts of Li et al. 2018."""
    return _on_gpus(ResNet(depth=110, shortcuts=False), _li(learning_rate=0.01))


@recipe
def cifar10_preactivation_resnet() -> Experiment:
    """Pre-activation ResNet-110 on CIFAR-10 with the schedule of He et al. 2016b."""
    return _on_gpus(PreactivationResNet(depth=110), _HE_WARM)


@recipe
def cifar10_preactivation_resnet_noshort() -> Experiment:
    """Pre-activation ResNet-110 without shortcuts on CIFAR-10, same schedule."""
    return _on_gpus(PreactivationResNet(depth=110, shortcuts=False), _HE_WARM)


@recipe
def cifar10_preactivation_resnet164() -> Experiment:
    """Pre-activation ResNet-164 with bottlenecks on CIFAR-10, He et al. 2016b, table 4."""
    return _on_gpus(PreactivationResNet(depth=164, bottleneck=True), _HE_WARM)


@recipe
def cifar10_wide_resnet() -> Experiment:
    """WRN-28-10 on CIFAR-10 with the schedule of Zagoruyko & Komodakis 2016: 200 epochs, rate times 0.2 at
    60, 120 and 160.
    """
    return _on_gpus(WideResNet(depth=28, width=10), _ZAGORUYKO)


@recipe
def cifar10_wide_resnet_dropout() -> Experiment:
    """WRN-28-10 with dropout 0.3 on CIFAR-10, same schedule."""
    return _on_gpus(WideResNet(depth=28, width=10, dropout=0.3), _ZAGORUYKO)


@recipe
def cifar10_wide_resnet_noshort() -> Experiment:
    """WRN-28-10 without shortcuts on CIFAR-10, same schedule."""
    return _on_gpus(WideResNet(depth=28, width=10, shortcuts=False), _ZAGORUYKO)


@recipe
def cifar10_densenet() -> Experiment:
    """DenseNet-BC of 100 layers and growth 12 on CIFAR-10 with the schedule of Huang et al. 2017: 300
    epochs, batch 64.
    """
    return _on_gpus(DenseNet(depth=100), _HUANG)


@recipe
def cifar10_densenet121() -> Experiment:
    """The 121-layer DenseNet on CIFAR-10 as Li et al. 2018 trained it."""
    return _on_gpus(DenseNet(blocks=(6, 12, 24, 16), growth=32), _li())


@recipe
def cifar10_moe() -> Experiment:
    """A perceptron with a mixture of 8 experts, 2 active, on CIFAR-10; Shazeer et al. 2017 have no CIFAR
    schedule, this one is ours.
    """
    return _on_gpus(MixtureOfExperts(width=256, experts=Experts(hidden=256)), _ours(learning_rate=0.01))


@recipe
def cifar10_moe_unbalanced() -> Experiment:
    """The perceptron with experts on CIFAR-10 without balance losses; the schedule is ours."""
    return _on_gpus(MixtureOfExperts(width=256, experts=_UNBALANCED), _ours(learning_rate=0.01))


@recipe
def cifar10_moe_convolutional() -> Experiment:
    """A convolutional network with a mixture of 8 experts at every place of the image, on CIFAR-10; the
    schedule is ours.
    """
    return _on_gpus(MixtureOfExperts(body="convolutional", experts=Experts(hidden=256)), _ours())


@recipe
def cifar10_moe_convolutional_unbalanced() -> Experiment:
    """The convolutional network with experts on CIFAR-10 without balance losses; the schedule is ours."""
    return _on_gpus(MixtureOfExperts(body="convolutional", experts=_UNBALANCED), _ours())


@recipe
def cifar10_multimodel() -> Experiment:
    """One network after MultiModel of Kaiser et al. 2017: CIFAR-10's images, digits as tokens, and breast
    cancer as a table; the schedule is ours.
    """
    adam = {
        "optimizer": Optimizer(algorithm="adam", learning_rate=0.001),
        "augmentation": Augmentation(),
        "channels_last": False,
    }
    data = Data(source="tasks", tasks=("images", "digits-tokens", "breast-cancer"))
    model = MultiModel(width=128, blocks=4, heads=8, experts=Experts(count=8, hidden=256))
    return cifar10_moe().model_copy(
        update={"data": data, "model": model, "training": _ours().model_copy(update=adam)}
    )


def _on_gpus(model: Model, training: Training) -> Experiment:
    return Experiment(
        study="cifar10",
        data=Data(source="cifar10"),
        model=model,
        training=training,
        landscape=Landscape(pairs=3, adaptive=Adaptive(), curvature=Curvature(), samples=1000),
        cluster=Cluster(profile="gpu"),
    )


def _li(batch_size: int = 128, learning_rate: float = 0.1, weight_decay: float = 5e-4) -> Training:
    return Training(
        epochs=300,
        batch_size=batch_size,
        optimizer=Optimizer(
            learning_rate=learning_rate, momentum=0.9, nesterov=True, weight_decay=weight_decay
        ),
        schedule=Schedule(shape="step", milestones=(150, 225, 275)),
        augmentation=_AUGMENTED,
        channels_last=True,
        trajectory_every=10,
        processes=1,
    )


def _ours(learning_rate: float = 0.1) -> Training:
    return Training(
        epochs=60,
        batch_size=128,
        optimizer=Optimizer(learning_rate=learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=Schedule(warmup_epochs=1),
        augmentation=_AUGMENTED,
        channels_last=True,
        trajectory_every=4,
    )
