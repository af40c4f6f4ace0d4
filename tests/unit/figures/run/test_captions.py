import dataclasses
import math

import numpy as np
import pytest
from reference.summaries import bowl, evaluate, summary, with_values

from lossmap.components.config.data import Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import (
    DenseNet,
    Imported,
    Linear,
    MixtureOfExperts,
    Mlp,
    Model,
    PreactivationResNet,
    ResNet,
    Vgg,
    WideResNet,
)
from lossmap.components.figures import numbers
from lossmap.components.figures.run import captions
from lossmap.components.figures.scale import USUAL, Scale

SIDE = np.linspace(-1, 0.5, 4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not available"),
        (math.nan, "NaN"),
        (math.inf, "infinite"),
        (-math.inf, "minus infinite"),
        (0.0123456, "0.01235"),
        (853018, "853\u202f018"),
        (2.0, "2"),
    ],
)
def test_numbers_are_words_where_they_are_not_numbers(value: float | None, text: str):
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("test_error", 0.0832, "8.32\u202f%"),
        ("basin_fraction", 0.5, "50\u202f%"),
        ("train_loss", 0.5, "0.5"),
        ("test_error", None, "not available"),
        ("test_error", math.nan, "NaN"),
    ],
)
def test_shares_are_percentages_and_losses_are_not(name: str, value: float | None, text: str):
    assert numbers.scalar(name, value) == text


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (ResNet(depth=56), "ResNet-56 on cifar10"),
        (ResNet(depth=20, shortcuts=False), "ResNet-20 without shortcuts on cifar10"),
        (Mlp(hidden=(64, 32)), "Multi-layer perceptron 64-32 on cifar10"),
        (Linear(), "Softmax regression on cifar10"),
        (ResNet(depth=56, width=4), "ResNet-56, 4 times as wide on cifar10"),
        (Vgg(), "VGG-9 on cifar10"),
        (Vgg(channels=16), "VGG-9 from 16 channels on cifar10"),
        (
            PreactivationResNet(depth=110, shortcuts=False),
            "Pre-activation ResNet-110 without shortcuts on cifar10",
        ),
        (WideResNet(depth=28, width=10), "WRN-28-10 on cifar10"),
        (DenseNet(depth=100), "DenseNet-BC-100-12 on cifar10"),
        (DenseNet(depth=40, bottleneck=False, compression=1), "DenseNet-40-12 on cifar10"),
        (DenseNet(blocks=(6, 12, 24, 16), growth=32), "DenseNet-BC-121-32 on cifar10"),
        (MixtureOfExperts(), "Mixture of 8 experts on cifar10"),
        (MixtureOfExperts(body="convolutional"), "Mixture of 8 experts at every place on cifar10"),
    ],
)
def test_the_title_names_network_and_data(model: Model, text: str):
    assert captions.title(summary(model=model)) == text


def test_the_contour_caption_says_what_was_evaluated_how_and_what_cannot_be_seen():
    losses = {
        (0, 0): np.nan,
        (0, 1): np.inf,
        (0, 2): np.inf,
        (0, 3): None,
        (1, 0): 0.002,
        (1, 1): 400.0,
        (2, 1): 101.0,
    }
    assert (
        captions.contour_caption(summary(plane=with_values(evaluate(bowl, SIDE, SIDE), losses)), USUAL)
        == "Mean cross-entropy of 512 training images. Random directions, filter normalisation; biases and"
        " BatchNorm parameters stay; BatchNorm statistics frozen as trained. Logarithmic scale from 0.01"
        " to 100, the same for all runs. 4 × 4 points, x from −1 to 0.5, y from −1 to 0.5; 1 below and 2"
        " above the scale, drawn at its ends; without a finite loss: 1 NaN, 2 infinite, 1 not evaluated,"
        " of 16 points. In the map every point has one colour; thin lines (1, 2 and 5 times powers of ten)"
        " interpolate log loss linearly between points; thick line: the loss of uniform guessing; plus:"
        " the trained network; ring: the lowest point; hatched: NaN or infinite; dotted: not evaluated."
        " Here the thick line is ln 10 = 2.303 and the ring the lowest point, 0.002 at (−1, −0.5)."
    )


def test_captions_follow_the_settings_of_the_survey():
    landscape = Landscape(
        split="test",
        samples=20000,
        normalization="none",
        ignore_bias_and_norm=False,
        batch_norm="reestimated",
    )
    run = dataclasses.replace(summary(), experiment=Experiment(landscape=landscape))
    assert (
        captions.evaluation(run)
        == "Mean cross-entropy of 10000 test images. Random directions, without normalisation; biases and"
        " BatchNorm parameters move too; BatchNorm statistics re-estimated at every point."
    )


def test_the_line_caption_counts_the_points_without_a_finite_loss():
    line = with_values(evaluate(bowl, SIDE, np.array([0.0])), {(0, 0): np.inf, (0, 1): None})
    assert (
        "4 points, x from −1 to 0.5, along the first direction; 2 have no finite loss and are shaded."
        in captions.line_caption(summary(), line)
    )


def test_a_surface_without_a_finite_loss_has_a_caption():
    surface = with_values(evaluate(bowl, SIDE[:1], SIDE[:1]), {(0, 0): np.nan})
    assert captions.contour_caption(summary(plane=surface), USUAL).endswith(
        "the ring the lowest point (no loss is finite)."
    )


def test_an_unknown_scalar_is_named_by_its_key():
    assert numbers.label("top_hessian_eigenvalue") == "Top hessian eigenvalue"


@pytest.mark.parametrize(
    ("source", "shown"),
    [("digits", "digits"), ("../shared/data/cifar10.zip", "cifar10.zip"), ("s3://bucket/images/", "images")],
)
def test_a_title_names_the_data_set_without_its_path(source: str, shown: str):
    run = summary()
    run = dataclasses.replace(run, manifest=run.manifest.model_copy(update={"source": source}))
    assert captions.title(run).endswith(f" on {shown}")


def test_the_captions_of_another_scale_state_it_and_speak_of_no_guessing():
    run = summary(plane=evaluate(lambda x, y: -3.8 + 2 * (x**2 + y**2), SIDE, SIDE))
    model = Imported(factory="net:make", loss="my.losses:likelihood")
    experiment = Experiment(model=model, data=Data(source="data.npz"))
    run = dataclasses.replace(run, experiment=experiment)
    scale = Scale("linear", -4.0, 1.0, origin="by the losses shown")
    said = captions.contour_caption(run, scale)
    assert said.startswith("Mean of my.losses:likelihood of 512 training samples. ")
    assert "Linear scale from \N{MINUS SIGN}4 to 1, by the losses shown." in said
    assert "thin lines (every 0.5) interpolate loss linearly" in said
    for text in (said, captions.page_caption(run, scale), captions.pointing(scale, guesses=False)):
        assert "guess" not in text
        assert "nats" not in text


def test_an_interval_and_a_range_are_told_apart():
    known = {"ceiling": 5.87, "ceiling_low": 5.2, "ceiling_high": 6.4}
    run = dataclasses.replace(summary(), scalars=known)
    assert captions.value_and_interval(run, "ceiling") == "5.87 (5.2 to 6.4)"
    run = dataclasses.replace(summary(), scalars={**known, "ceiling_range_of": 2.0})
    assert captions.value_and_interval(run, "ceiling") == "5.87 (range of 2 pairs: 5.2 to 6.4)"
    same = {"convex_fraction": 1.0, "convex_fraction_low": 1.0, "convex_fraction_high": 1.0}
    run = dataclasses.replace(summary(), scalars={**same, "convex_fraction_range_of": 3.0})
    assert captions.interval(run, "convex_fraction") == "the same in all 3 pairs"


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("basin_fraction_below_0.5", "Basin fraction below 0.5"),
        ("worst_case_sharpness_0.05", "Worst case sharpness 0.05"),
        ("test_error.digits", "Test error, digits"),
    ],
)
def test_a_point_in_a_number_is_no_task(name, spelled):
    assert numbers.label(name) == spelled


def _imported(loss="cross-entropy", classes=None, **scalars):
    model = Imported(factory="net:make", loss=loss, classes=classes)
    run = summary()
    return dataclasses.replace(run, experiment=Experiment(model=model), scalars={**run.scalars, **scalars})


def test_there_is_a_loss_of_guessing_where_the_loss_is_cross_entropy_of_classes():
    assert _imported(train_error=0.5).guessing_loss == pytest.approx(np.log(10))
    assert _imported(classes=False).guessing_loss is None
    assert _imported(loss="net:weighted").guessing_loss is None
    assert _imported(loss="torch.nn:BCEWithLogitsLoss").guessing_loss is None


def test_integers_without_an_error_are_no_classes():
    assert captions.classes(_imported(train_error=0.5)).startswith("Classes: airplane, ")
    assert captions.classes(_imported(train_error=None)) == "The targets are no classes."
