import numpy as np
import pytest
import torch
from reference import data as reference

from lossmap.components.config.manifest import Manifest
from lossmap.components.config.training import Augmentation
from lossmap.components.core.randomness import stream
from lossmap.components.data.batches import (
    Images,
    augment,
    epoch_order,
    evaluation_share,
    normalize,
    rank_share,
    sample_indices,
)


def _manifest(channels, height=6, width=5):
    random = np.random.default_rng(channels)
    return Manifest(
        digest="d",
        source="s",
        classes=("a", "b"),
        shape=(channels, height, width),
        mean=tuple(random.random(channels).tolist()),
        deviation=tuple((0.1 + random.random(channels)).tolist()),
        train=(),
        test=(),
    )


def _pixels(count, channels, height=6, width=5):
    return torch.from_numpy(
        np.random.default_rng(count).integers(0, 256, (count, channels, height, width)).astype(np.uint8)
    )


@pytest.mark.parametrize("channels", [1, 3])
# of numbers below 10, a few roundings each
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 4e-6)])
def test_normalization_equals_numbers_computed_one_by_one(channels, dtype, tolerance):
    manifest, pixels = _manifest(channels), _pixels(4, channels)
    found = normalize(pixels, manifest, dtype)
    assert found.dtype == dtype
    expected = reference.normalize(pixels.numpy(), manifest.mean, manifest.deviation)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("padding", "flip"), [(0, False), (0, True), (2, False), (2, True), (7, True)])
def test_augmentation_equals_loops_over_pixels(channels, padding, flip):
    manifest, pixels = _manifest(channels), _pixels(40, channels)
    found = augment(pixels, Augmentation(crop_padding=padding, flip=flip), manifest, stream("test", padding))
    same = stream("test", padding)
    rows, columns = same.integers(0, 2 * padding + 1, 40), same.integers(0, 2 * padding + 1, 40)
    flips = (same.random(40) < 0.5) & flip
    border = [round(255 * mean) for mean in manifest.mean]
    expected = reference.augment(pixels.numpy(), padding, flips, rows, columns, border)
    assert (found.dtype, found.shape) == (torch.uint8, pixels.shape)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_every_offset_of_the_crop_is_drawn_about_equally_often_and_half_are_mirrored():
    count, padding, manifest = 20_000, 1, _manifest(1, 3, 3)
    places = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).repeat(count, 1, 1, 1)
    found = augment(places, Augmentation(crop_padding=padding, flip=True), manifest, stream("offsets"))
    kinds, counts = np.unique(found.numpy().reshape(count, -1), axis=0, return_counts=True)
    assert len(kinds) == 2 * 3 * 3
    assert np.abs(counts - count / 18).max() < 6 * np.sqrt(count / 18)  # six deviations of a count


def test_the_same_generator_gives_the_same_images_and_another_gives_others():
    manifest, pixels, augmentation = _manifest(3), _pixels(64, 3), Augmentation(crop_padding=2, flip=True)
    first, again, other = (
        augment(pixels, augmentation, manifest, stream("augment", name)) for name in ("a", "a", "b")
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "augmentation", [Augmentation(), Augmentation(crop_padding=2), Augmentation(flip=True)]
)
def test_augmentation_leaves_its_input(augmentation):
    pixels = _pixels(16, 3)
    before = pixels.clone()
    augment(pixels, augmentation, _manifest(3), stream("x"))
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6])
def test_the_shares_of_the_ranks_are_the_batch_in_order(world):
    batch = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    shares = [rank_share(batch, rank, world) for rank in range(world)]
    assert {len(share) for share in shares} == {24 // world}
    assert torch.cat(shares).tolist() == batch.tolist()


@pytest.mark.parametrize("world", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("count", [1, 4, 17, 60])
def test_all_ranks_together_evaluate_every_image_once(count, world):
    shares = [evaluation_share(count, rank, world).tolist() for rank in range(world)]
    assert sorted(index for share in shares for index in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_order_of_an_epoch_is_a_permutation_of_its_own():
    orders = [epoch_order(100, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 9
    assert epoch_order(100, 2, 1).tolist() == orders[7]


@pytest.mark.parametrize("samples", [1, 7, 50, 80])
def test_samples_are_rising_and_drawn_once(samples):
    indices = sample_indices(50, samples, seed=3).tolist()
    assert indices == sorted(set(indices))
    assert len(indices) == min(samples, 50)
    assert set(indices) <= set(range(50))


def test_samples_differ_by_seed_and_every_image_has_the_same_chance():
    drawn = np.bincount(
        torch.cat([sample_indices(20, 5, seed) for seed in range(2000)]).numpy(), minlength=20
    )
    assert np.abs(drawn - 500).max() < 6 * np.sqrt(500 * 0.75)  # six deviations of a binomial count


def test_images_know_their_number_and_move_together():
    images = Images(_pixels(4, 3), torch.arange(4))
    moved = images.to(torch.device("meta"))
    assert len(images) == len(moved) == 4
    assert moved.pixels.is_meta
    assert moved.labels.is_meta
