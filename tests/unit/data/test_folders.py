import io
import multiprocessing
import os
import stat
import tempfile
import zipfile
from pathlib import Path

import boto3
import numpy as np
import pytest
from PIL import Image
from reference.data import decoded, png, write_folder, write_zip
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import CenterCrop, Compose, Grayscale, InterpolationMode, Resize

from lossmap.components.config.data import TAKEN, Data
from lossmap.components.core.errors import DataError, StoreError
from lossmap.components.data import decode, files, pack
from lossmap.components.data.batches import load_images
from lossmap.components.data.choose import balanced_choice
from lossmap.components.data.folders import read_folder
from lossmap.components.data.sources import load_source
from lossmap.components.stores.objects import open_store

NO_IMAGE = "not a PNG, JPEG, PPM, BMP, TIFF or WEBP image"


def _noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _files(make=lambda index: png(_noise(5, 4, 3, seed=index)), labels=("cat", "dog")):
    names = [
        f"{split}/{label}/{index}.png"
        for split, count in (("train", 3), ("test", 2))
        for label in labels
        for index in range(count)
    ]
    return {name: make(index) for index, name in enumerate(names)}


def _read(source, **settings):
    """Classes, and pixels and labels by split."""
    return _unpacked(read_folder(Data(source=str(source), **settings), lambda _done, _total: None))


def _notes(source, **settings):
    return read_folder(Data(source=str(source), **settings), lambda _done, _total: None).notes


def _unpacked(source):
    return source.classes, {split: (part.pixels, part.labels) for split, part in source.splits.items()}


def _expected(contents, split, channels=3):
    return np.stack([decoded(contents[name], channels) for name in sorted(contents) if f"{split}/" in name])


def _message(source, kind=DataError, **settings):
    with pytest.raises(kind) as caught:
        load_source(Data(source=str(source), **settings), lambda _done, _total: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def upload(s3):
    def put(name, content):
        bucket, prefix = s3.removeprefix("s3://").split("/")
        boto3.session.Session().client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=content)
        return f"{s3}/{name}"

    return put


def _zip_with_folder(place, contents):
    inside = {f"top/{name}": content for name, content in contents.items()}
    return write_zip(place, {"top/": b"", "top/train/": b"", "README.md": b"", **inside})


def _linked(place, folder):
    place.mkdir()
    for split in ("train", "test"):
        (place / split).symlink_to(folder / split)
    return place


def _uploaded(put, contents):
    for name, content in contents.items():
        put(f"images/{name}", content)
    return put("images/", b"").rstrip("/")


KINDS = {
    "folder": lambda folder, contents, place, request: folder,
    "file URI": lambda folder, contents, place, request: folder.as_uri(),
    "linked folders": lambda folder, contents, place, request: _linked(place, folder),
    "zip": lambda folder, contents, place, request: write_zip(place, contents),
    "deflated zip": lambda folder, contents, place, request: write_zip(place, contents, zipfile.ZIP_DEFLATED),
    "zip with folder": lambda folder, contents, place, request: _zip_with_folder(place, contents),
    "s3 folder": lambda folder, contents, place, request: _uploaded(
        request.getfixturevalue("upload"), contents
    ),
    "s3 zip": lambda folder, contents, place, request: request.getfixturevalue("upload")(
        "x.zip", write_zip(place, contents).read_bytes()
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_gives_the_pixels_of_its_files_and_one_digest(kind, tmp_path, request):
    contents = _files()
    folder = write_folder(tmp_path / "plain #1", contents)
    source = KINDS[kind](folder, contents, tmp_path / "x", request)
    classes, splits = _read(source)
    assert classes == ("cat", "dog")
    for split, labels in (("train", [0, 0, 0, 1, 1, 1]), ("test", [0, 0, 1, 1])):
        pixels, found = splits[split]
        np.testing.assert_array_equal(pixels, _expected(contents, split))
        assert found.tolist() == labels
        assert (pixels.dtype, found.dtype) == (np.uint8, np.int64)
    store = open_store(str(tmp_path / "store"))
    digests = {pack.prepare(Data(source=str(place)), store).digest for place in (source, folder)}
    assert len(digests) == 1


def test_a_picture_outside_the_folder_around_everything_does_not_hide_it(tmp_path):
    contents = {
        "logo.png": png(_noise(9, 9)),
        **{f"top/{name}": content for name, content in _files().items()},
    }
    assert _read(write_zip(tmp_path / "x.zip", contents))[0] == ("cat", "dog")


def test_grey_images_keep_one_channel(tmp_path):
    contents = _files(lambda index: png(_noise(5, 4, seed=index)))
    _, splits = _read(write_folder(tmp_path, contents))
    np.testing.assert_array_equal(splits["train"][0], _expected(contents, "train", channels=1))


def test_grey_images_among_coloured_ones_get_three_equal_channels(tmp_path):
    contents = _files(lambda index: png(_noise(5, 4, *([3] if index else []), seed=index)))
    pixels = _read(write_folder(tmp_path, contents))[1]["train"][0]
    np.testing.assert_array_equal(pixels, _expected(contents, "train"))
    assert (pixels[0, 0] == pixels[0, 1]).all()
    assert (pixels[0, 0] == pixels[0, 2]).all()


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)]
)
def test_every_mode_of_png_has_the_channels_of_its_colours(mode, channels):
    content = png(Image.fromarray(_noise(6, 5, 4), "RGBA").convert(mode))
    array = decode.decode(content, "x.png")
    assert array.shape == (6, 5, channels)
    np.testing.assert_array_equal(array.transpose(2, 0, 1), decoded(content, channels))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("CMYK", 3)])
def test_every_mode_of_jpeg_has_the_channels_of_its_colours(mode, channels):
    file = io.BytesIO()
    Image.fromarray(_noise(6, 5, 3)).convert(mode).save(file, "JPEG")
    np.testing.assert_array_equal(
        decode.decode(file.getvalue(), "x.jpg").transpose(2, 0, 1), decoded(file.getvalue(), channels)
    )


def test_transparency_is_dropped_not_blended():
    pixels = _noise(3, 3, 4)
    np.testing.assert_array_equal(decode.decode(png(pixels), "x.png"), pixels[:, :, :3])


ORDERS = [
    (("10", "9", "1"), ("1", "10", "9"), ("1", "9", "10")),
    (("b", "10", "a", "9"), ("10", "9", "a", "b"), ("9", "10", "a", "b")),
    (("a", "B", "é", "Ä", "Z"), ("B", "Z", "a", "Ä", "é"), ("B", "Z", "a", "Ä", "é")),
    (("01", "1", "002"), ("002", "01", "1"), ("01", "1", "002")),
    (("-1", "-10", "2"), ("-1", "-10", "2"), ("2", "-1", "-10")),
    (("n02124075", "n01443537"), ("n01443537", "n02124075"), ("n01443537", "n02124075")),
    (("class_10", "class_9"), ("class_10", "class_9"), ("class_10", "class_9")),
]


@pytest.mark.parametrize(("labels", "names", "numbers"), ORDERS)
def test_classes_are_in_the_order_of_torchvision_or_of_their_numbers(tmp_path, labels, names, numbers):
    folder = write_folder(tmp_path, _files(labels=labels))
    assert _read(folder)[0] == names == tuple(ImageFolder(folder / "train").classes)
    assert _read(folder, class_order="numbers")[0] == numbers


@pytest.mark.parametrize("order", ["names", "numbers"])
def test_labels_follow_the_order_in_both_splits(tmp_path, order):
    contents = {
        f"{split}/{label}/0.png": png(np.full((2, 2), label, np.uint8))
        for split in ("train", "test")
        for label in range(12)
    }
    classes, splits = _read(write_folder(tmp_path, contents), class_order=order)
    for pixels, labels in splits.values():
        assert [int(classes[label]) for label in labels] == pixels[:, 0, 0, 0].tolist()


def test_two_orders_that_differ_are_told_and_equal_ones_are_not(tmp_path):
    def told(labels, **settings):
        place = write_folder(tmp_path / str(len(labels)), _files(labels=labels))
        return " ".join(_notes(place, **settings))

    assert "order of the classes" not in told(("cat", "dog"))
    labels = ("1", "2", "10")
    assert (
        "order of the classes: by names, as torchvision's ImageFolder has them: 1, 10, 2; by numbers: 1, 2,"
        " 10; a network that was trained with that one needs data.class_order=numbers"
    ) in told(labels)
    assert "needs data.class_order=names" in told(labels, class_order="numbers")


def test_the_order_of_the_classes_can_come_from_a_file(tmp_path):
    folder = write_folder(tmp_path / "x", _files(labels=("cat", "dog", "owl")))
    order = tmp_path / "order.txt"
    order.write_text("owl\ncat\n\ndog\n")
    assert _read(folder, class_order=str(order))[0] == ("owl", "cat", "dog")
    order.write_text("owl\ncat\n")
    assert "whose classes are not those of the folders: dog; expected" in _message(
        folder, class_order=str(order)
    )


def test_a_list_of_classes_in_another_order_beside_them_is_told(tmp_path):
    folder = write_folder(tmp_path, {**_files(), "classes.txt": b"dog\ncat\n"})
    assert "classes.txt beside them has another" in " ".join(_notes(folder))


def test_other_and_hidden_files_are_passed_over(tmp_path):
    more = [
        "train/cat/notes.txt",
        "train/.DS_Store",
        "train/cat/.thumb.png",
        "train/.ipynb_checkpoints/x.png",
        "__MACOSX/train/cat/._0.png",
        "train/list.png",
    ]
    folder = write_folder(tmp_path, _files() | dict.fromkeys(more, b"not an image"))
    source = read_folder(Data(source=str(folder)), lambda _done, _total: None)
    assert len(source.splits["train"].labels) == 6
    assert source.passed_over == {".txt": 1, "outside the class folders": 1, "hidden": 4}
    assert source.notes == (
        f"files passed over in {folder}: 1 .txt (train/cat/notes.txt); 1 outside the class folders"
        " (train/list.png); 4 hidden",
    )


def test_endings_may_be_in_capitals_and_of_jpeg(tmp_path):
    file = io.BytesIO()
    Image.fromarray(_noise(5, 4, 3)).save(file, "JPEG")
    folder = write_folder(
        tmp_path, _files() | {"train/cat/x.JPEG": file.getvalue(), "train/cat/y.Jpg": file.getvalue()}
    )
    assert len(_read(folder)[1]["train"][1]) == 8


FORMATS = {
    "jpg": ("JPEG", "RGB"),
    "jpeg": ("JPEG", "CMYK"),
    "png": ("PNG", "P"),
    "ppm": ("PPM", "RGB"),
    "pgm": ("PPM", "L"),
    "bmp": ("BMP", "RGB"),
    "tif": ("TIFF", "RGB"),
    "tiff": ("TIFF", "RGBA"),
    "webp": ("WEBP", "RGBA"),
}


def _saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("ending", FORMATS)
def test_every_ending_of_torchvision_is_read_as_torchvision_reads_it(tmp_path, ending):
    form, mode = FORMATS[ending]
    image = Image.fromarray(_noise(9, 7, 4), "RGBA").convert(mode)
    more = {f"{split}/dog/x.{ending}": _saved(image, form) for split in ("train", "test")}
    folder = write_folder(tmp_path, _files(lambda index: png(_noise(9, 7, 3, seed=index))) | more)
    _, splits = _read(folder)
    for split, (pixels, labels) in splits.items():
        theirs = ImageFolder(folder / split)
        assert labels.tolist() == theirs.targets
        for mine, (image, _) in zip(pixels, theirs, strict=True):
            np.testing.assert_array_equal(mine.transpose(1, 2, 0), np.asarray(image))
    assert tuple(sorted(IMG_EXTENSIONS)) == tuple(sorted(decode.ENDINGS))


def test_the_first_image_of_several_is_taken_and_orientation_is_left_as_torchvision_does(tmp_path):
    first, second = (Image.fromarray(_noise(9, 7, 3, seed=seed)) for seed in (1, 2))
    turned = first.getexif()
    turned[0x0112] = 6
    contents = {
        "train/cat/x.tif": _saved(first, "TIFF", save_all=True, append_images=[second]),
        "train/cat/x.webp": _saved(first, "WEBP", save_all=True, append_images=[second], lossless=True),
        "train/cat/x.jpg": _saved(first, "JPEG", exif=turned),
    }
    for name, content in contents.items():
        path = write_folder(tmp_path, {name: content}) / name
        with Image.open(path) as image:
            np.testing.assert_array_equal(decode.decode(content, name), np.asarray(image.convert("RGB")))


def test_grey_images_have_three_channels_where_they_are_asked_for(tmp_path):
    folder = write_folder(tmp_path, _files(lambda index: png(_noise(5, 4, seed=index))))
    assert "torchvision's ImageFolder gives three equal ones" in _notes(folder)[0]
    pixels = _read(folder, channels=3)[1]["train"][0]
    theirs = ImageFolder(folder / "train")
    for mine, (image, _) in zip(pixels, theirs, strict=True):
        np.testing.assert_array_equal(mine.transpose(1, 2, 0), np.asarray(image))
    assert not _notes(folder, channels=3)


def test_coloured_images_become_grey_where_that_is_asked_for(tmp_path):
    folder = write_folder(tmp_path, _files())
    pixels = _read(folder, channels=1)[1]["train"][0]
    theirs = ImageFolder(folder / "train", Grayscale())
    for mine, (image, _) in zip(pixels, theirs, strict=True):
        np.testing.assert_array_equal(mine[0], np.asarray(image))


@pytest.mark.parametrize("interpolation", [None, "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(20, 31), (31, 20), (12, 12), (40, 17)])
def test_a_centre_crop_is_that_of_torchvision(tmp_path, height, width, interpolation):
    folder = write_folder(tmp_path, _files(lambda index: png(_noise(height + index, width, 3, seed=index))))
    pixels = _read(folder, image_size=16, crop=11, interpolation=interpolation)[1]["train"][0]
    mode = InterpolationMode(interpolation or "bilinear")
    theirs = ImageFolder(folder / "train", Compose([Resize(16, mode), CenterCrop(11)]))
    for mine, (image, _) in zip(pixels, theirs, strict=True):
        np.testing.assert_array_equal(mine.transpose(1, 2, 0), np.asarray(image))


def test_a_crop_alone_is_cut_out_and_one_that_is_too_large_is_refused(tmp_path):
    folder = write_folder(tmp_path, _files(lambda index: png(_noise(9 + index, 8, 3, seed=index))))
    pixels = _read(folder, crop=5)[1]["test"][0]
    for mine, (image, _) in zip(pixels, ImageFolder(folder / "test", CenterCrop(5)), strict=True):
        np.testing.assert_array_equal(mine.transpose(1, 2, 0), np.asarray(image))
    assert _message(folder, crop=9) == (
        "train/cat/0.png is 8x9 and data.crop is 9, expected at most 8; resize first by data.image_size, or"
        " crop less"
    )


def test_images_are_resized_as_pillow_does(tmp_path):
    contents = _files(lambda index: png(_noise(5 + index, 9, 3, seed=index)))
    pixels = _read(write_folder(tmp_path, contents), image_size=4)[1]["test"][0]
    for name, image in zip([name for name in contents if name.startswith("test")], pixels, strict=True):
        expected = Image.open(io.BytesIO(contents[name])).resize((4, 4), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(image.transpose(1, 2, 0), np.asarray(expected))


def test_fewer_images_are_the_same_number_of_each_class(tmp_path):
    _, splits = _read(write_folder(tmp_path, _files()), limit=4, test_limit=2)
    assert splits["train"][1].tolist() == [0, 0, 1, 1]
    assert splits["test"][1].tolist() == [0, 1]


@pytest.fixture(params=["folder", "zip"])
def source(request, tmp_path):
    def make(contents):
        return (
            write_folder(tmp_path / "x", contents)
            if request.param == "folder"
            else write_zip(tmp_path / "x.zip", contents)
        )

    return make


def test_a_file_that_is_no_image_is_named(source):
    place = source(_files() | {"train/cat/1.png": b"not an image"})
    assert _message(place) == f"train/cat/1.png cannot be decoded: {NO_IMAGE}; replace it or remove it"


def test_a_truncated_png_is_named(source):
    content = png(_noise(30, 30, 3))
    place = source(_files() | {"train/cat/1.png": content[: len(content) // 2]})
    assert (
        _message(place)
        == "train/cat/1.png cannot be decoded: image file is truncated; replace it or remove it"
    )


def test_a_truncated_jpeg_is_named(source):
    file = io.BytesIO()
    Image.fromarray(_noise(64, 64, 3)).save(file, "JPEG")
    place = source(_files() | {"train/cat/1.jpg": file.getvalue()[:2000]})
    assert _message(place).startswith("train/cat/1.jpg cannot be decoded: image file is truncated")


def test_other_formats_under_the_name_of_a_png_are_refused(source):
    file = io.BytesIO()
    Image.fromarray(_noise(5, 4, 3)).save(file, "GIF")
    place = source(_files() | {"train/cat/1.png": file.getvalue()})
    assert _message(place) == f"train/cat/1.png cannot be decoded: {NO_IMAGE}; replace it or remove it"


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_damaged_image_is_an_image_or_an_error_in_one_line(form):
    random = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(_noise(12, 12, 3)).convert("P" if form == "PNG" else "RGB").save(file, form)
    for _ in range(2000):
        content = bytearray(file.getvalue())
        for place in random.integers(0, len(content), random.integers(1, 6)):
            content[place] = random.integers(256)
        try:
            decode.decode(bytes(content), "x")
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("mode", ["I;16", "RGB;16", "PPM"])
def test_more_than_8_bits_a_channel_are_refused(source, mode):
    content = {
        "I;16": lambda: png(_noise(4, 4).astype(np.uint16) * 257),
        "RGB;16": _png_with_16_bit_colour,
        "PPM": lambda: b"P6 2 2 65535\n" + bytes(24),
    }[mode]()
    place = source(_files() | {"train/cat/1.png": content})
    assert _message(place) == "train/cat/1.png has more than 8 bits a channel, expected 8; convert it"


def _png_with_16_bit_colour():
    import zlib

    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = (2).to_bytes(4, "big") + (2).to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress((b"\0" + b"\x12\x34" * 6) * 2))
        + chunk(b"IEND", b"")
    )


def test_a_picture_with_too_many_pixels_is_not_decoded(source):
    place = source(_files() | {"train/cat/1.png": png(Image.new("1", (5000, 4000)))})
    assert _message(place) == (
        "train/cat/1.png is 5000x4000, expected at most 16777216 pixels, or 67108864 where data.image_size is"
        " set; make it smaller"
    )


def test_a_picture_of_a_camera_is_resized(source):
    """20 million pixels, which would not be kept as they are."""
    place = source(_files() | {"train/cat/1.png": png(Image.new("L", (5000, 4000), 200))})
    data = Data(source=str(place), image_size=3)
    splits = load_source(data, lambda _done, _total: None).splits
    assert (splits["train"].pixels[1] == 200).all()


def test_a_picture_with_far_too_many_pixels_is_not_decoded(source):
    place = source(_files() | {"train/cat/1.png": png(Image.new("1", (20000, 10000)))})
    assert _message(place).startswith(
        "train/cat/1.png cannot be decoded: Image size (200000000 pixels) exceeds limit"
    )


def test_images_of_mixed_sizes_name_two_and_the_cure(source):
    place = source(_files() | {"train/dog/0.png": png(_noise(7, 6, 3))})
    expected = (
        f"images in {place} differ in size: train/cat/0.png is 4x5 and train/dog/0.png is 6x7; resize all:"
        " --set data.image_size=5"
    )
    assert _message(place) == expected


def test_a_picture_whose_pixels_pillow_warns_of_is_not_decoded(source):
    place = source(_files() | {"train/cat/1.png": png(Image.new("1", (10_000, 10_000)))})
    assert _message(place).startswith("train/cat/1.png is 10000x10000, expected at most 16777216 pixels")


@pytest.mark.parametrize("top", ["", "top/", "archive/top/"])
def test_an_image_in_a_folder_below_its_class_belongs_to_it(source, top):
    contents = _files() | {"train/cat/more/images/x.png": png(_noise(5, 4, 3, seed=7))}
    classes, splits = _read(source({f"{top}{name}": content for name, content in contents.items()}))
    assert (classes, splits["train"][1].tolist()) == (("cat", "dog"), [0] * 4 + [1] * 3)
    np.testing.assert_array_equal(splits["train"][0], _expected(contents, "train"))


def test_splits_below_the_classes_are_refused(source):
    contents = {
        f"{label}/{split}/{index}.png": png(_noise(5, 4, 3))
        for label in ("cat", "dog")
        for split in ("train", "test")
        for index in range(3)
    }
    place = source(contents)
    assert _message(place) == (
        f"cat/test/0.png in {place} is in a split below the class cat, expected the classes below the splits:"
        " train/<class>/ and test/<class>/"
    )


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["", "notes.txt"])
def test_a_class_folder_without_images_is_named(source, tmp_path, split, name):
    place = source(_files() | {f"{split}/empty/notes.txt": b""})
    if not name and place.is_dir():
        (place / split / "empty" / "notes.txt").unlink()
    elif not name:
        write_zip(place, _files() | {f"{split}/empty/": b""})
    assert (
        _message(place)
        == f"class empty has no images in {place} under {split}/; add some or remove its folder"
    )


@pytest.mark.parametrize(("here", "there"), [("train", "test"), ("test", "train")])
def test_a_class_of_one_split_only_is_named(source, here, there):
    place = source(_files() | {f"{here}/owl/0.png": png(_noise(5, 4, 3))})
    assert (
        _message(place)
        == f"class owl has images in {place} under {here}/ and none under {there}/; add some or remove the"
        " class"
    )


def _renamed(contents, **names):
    """The files with other names of their splits."""
    renamed = {}
    for name, content in contents.items():
        split, _, rest = name.partition("/")
        renamed[f"{names.get(split, f'{split}/')}{rest}"] = content
    return renamed


SPLITS = {
    "val": ({"train": "train/", "test": "val/"}, "the test split is val/"),
    "validation": ({"train": "Train/", "test": "Validation/"}, "the test split is Validation/"),
    "val and test": ({"train": "val/", "test": "test/"}, "the training split is val/, the test split test/"),
    "training and testing": ({"train": "training/", "test": "testing/"}, None),
}


@pytest.mark.parametrize("case", SPLITS)
def test_splits_have_the_names_that_people_give_them(source, case):
    names, note = SPLITS[case]
    contents = _files()
    place = source(_renamed(contents, **names))
    _, splits = _read(place)
    for split in ("train", "test"):
        np.testing.assert_array_equal(splits[split][0], _expected(contents, split))
    assert _notes(place) == ((note,) if note else ())


def test_of_three_splits_val_is_passed_over_and_told(source):
    extra = {f"val/{label}/9.png": png(_noise(5, 4, 3)) for label in ("cat", "dog")}
    place = source(_files() | extra)
    assert len(_read(place)[1]["test"][1]) == 4
    assert _notes(place) == (
        "the test split is test/",
        f"files passed over in {place}: 2 in val/ (val/cat/9.png, val/dog/9.png)",
    )


def test_a_test_folder_without_classes_gives_way_to_val(source):
    contents = _renamed(_files(), test="val/") | {"test/images/0.png": png(_noise(5, 4, 3))}
    place = source(contents)
    assert _read(place)[1]["test"][1].tolist() == [0, 0, 1, 1]
    assert _notes(place) == (
        "the test split is val/",
        f"files passed over in {place}: 1 in test/ (test/images/0.png)",
    )


@pytest.mark.parametrize("top", ["", "top/", "val/", "train/"])
def test_one_folder_of_classes_is_divided_class_by_class(source, top):
    images = {
        f"{top}{label}/{index}.png": png(np.full((2, 2), 10 * place + index, np.uint8))
        for place, label in enumerate(("cat", "dog"))
        for index in range(10)
    }
    place = source(images)
    _, splits = _read(place)
    assert {split: labels.tolist() for split, (_, labels) in splits.items()} == {
        "train": [0] * 8 + [1] * 8,
        "test": [0, 0, 1, 1],
    }
    values = np.concatenate([pixels[:, 0, 0, 0] for pixels, _ in splits.values()])
    assert sorted(values.tolist()) == list(range(20))
    for pixels, labels in splits.values():
        assert (pixels[:, 0, 0, 0] // 10).tolist() == labels.tolist()
    assert _notes(place)[0] == (
        f"the test set is 4 of the 20 images of {place}, drawn by data.seed; data.split sets the share"
    )
    assert [len(labels) for _, labels in _read(place, split=0.5)[1].values()] == [10, 10]
    assert (_read(place, seed=1)[1]["test"][0] != splits["test"][0]).any()


def test_a_class_called_train_is_a_class_beside_others(source):
    images = {f"{label}/{index}.png": png(_noise(3, 3)) for label in ("bus", "train") for index in range(5)}
    assert _read(source(images))[0] == ("bus", "train")


def test_a_share_for_a_source_with_a_test_set_is_refused(source):
    place = source(_files())
    assert _message(place, split=0.5) == f"data.split is 0.5 and {place} has a test set, expected null"


def test_one_split_beside_other_folders_of_images_is_refused(source):
    place = source(_renamed(_files(), test="more/"))
    assert _message(place) == (
        f"{place} has train/ and beside it more, train, expected train/ and test/ (or val/), or nothing but a"
        " folder for each class"
    )


def _no_images(place):
    return (
        f"{place} has no images under train/<class>/, expected .jpg, .jpeg, .png, .ppm, .bmp, .pgm,"
        " .tif, .tiff, .webp files there and under test/<class>/ (or val/<class>/), or in folders of two"
        " classes at least"
    )


@pytest.mark.parametrize("files", [{}, {"0.png": png(_noise(3, 3))}, {"train/0.png": png(_noise(3, 3))}])
def test_a_source_without_classes_is_told_what_is_expected(source, tmp_path, files):
    (tmp_path / "x").mkdir(exist_ok=True)
    place = source(files)
    assert _message(place) == _no_images(place)


def test_a_split_without_images_is_named(source):
    place = source(_files() | {"val/notes.txt": b""})
    assert len(_read(place)[1]["test"][1]) == 4
    only_text = {name.replace(".png", ".gif"): b"" for name in _files() if name.startswith("test")}
    train = {name: content for name, content in _files().items() if name.startswith("train")}
    assert "has no images under test/<class>/, expected .jpg" in _message(
        write_zip(Path(f"{place}.second.zip"), train | only_text)
    )


def test_a_file_that_is_no_zip_is_named(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"something else" * 100)
    assert (
        _message(tmp_path / "x.tar")
        == f"{tmp_path}/x.tar is neither a folder nor a zip archive, expected {TAKEN}"
    )


def test_a_table_of_another_kind_is_told_what_to_write(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1" * 9)
    assert _message(tmp_path / "x.parquet").endswith(
        "; write a table as .csv, arrays as .npz, or hand them over in Python"
    )


def test_a_damaged_zip_is_one_line_whatever_is_damaged(tmp_path):
    random, place = np.random.default_rng(0), write_zip(tmp_path / "x.zip", _files(), zipfile.ZIP_DEFLATED)
    whole = place.read_bytes()
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for index in random.integers(0, len(content), 4):
            content[index] = random.integers(256)
        place.write_bytes(content)
        try:
            _read(place)
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


@pytest.mark.parametrize("name", ["../x.png", "train/../../x.png", "/etc/x.png", "..\\x.png", "C:/x.png"])
def test_a_name_that_leads_out_of_the_zip_is_refused(tmp_path, name):
    place = write_zip(tmp_path / "x.zip", _files() | {name: b""})
    assert _message(place) == f"{name!r} in {place} leads out of the archive; it is not opened"


def test_a_link_in_a_zip_is_refused(tmp_path):
    place = tmp_path / "x.zip"
    with zipfile.ZipFile(place, "w") as archive:
        link = zipfile.ZipInfo("train/cat/0.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert _message(place) == f"'train/cat/0.png' in {place} is a link; replace it by the file"


def test_an_entry_that_would_swell_is_refused(tmp_path):
    place = write_zip(tmp_path / "x.zip", _files() | {"train/cat/x.png": bytes(2**24)}, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(place) as archive:
        size = archive.getinfo("train/cat/x.png").compress_size
    assert (
        _message(place)
        == f"'train/cat/x.png' in {place} would unpack from {size} to {2**24} bytes; it is not opened"
    )


def test_an_archive_that_would_unpack_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    place = write_zip(tmp_path / "x.zip", {"train/cat/0.png": bytes(600), "train/cat/1.png": bytes(600)})
    assert (
        _message(place)
        == f"{place} holds 2 files of 1200 bytes, expected at most 5000000 files of 1000 bytes"
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused_and_a_folder_is_not(tmp_path):
    place = write_zip(tmp_path / "x.zip", _files())
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr("train/", b"")
        archive.writestr("train/", b"")
    assert _read(place)[0] == ("cat", "dog")
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr("train/cat/0.png", png(_noise(5, 4, 3, seed=99)))
    assert _message(place) == f"'train/cat/0.png' is in {place} more than once; keep one of them"


def test_an_encrypted_entry_is_refused(tmp_path):
    place = write_zip(tmp_path / "x.zip", {"train/cat/0.png": b"content"})
    content = bytearray(place.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    place.write_bytes(content)
    assert (
        _message(place)
        == f"'train/cat/0.png' in {place} is encrypted; unpack the archive and name its folder"
    )


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    folder = write_folder(tmp_path, _files())
    (folder / "train" / "cat" / "0.png").unlink()
    (folder / "train" / "cat" / "0.png").symlink_to("nowhere")
    assert _message(folder) == f"{folder}/train/cat/0.png cannot be read: No such file or directory"


@pytest.fixture
def powerless():
    """A folder that everybody can reach, and a process without root's right to read everything."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        user = os.geteuid()

        def become(other):
            if user == 0:
                os.seteuid(other)

        yield Path(place), lambda: become(65534)
        become(0)
        for path in Path(place).rglob("*"):
            path.chmod(0o755)


@pytest.mark.parametrize("locked", ["train/cat", "train", "."])
def test_a_folder_that_may_not_be_read_is_named(powerless, locked):
    place, drop_rights = powerless
    folder = write_folder(place / "images", _files())
    (folder / locked).chmod(0)
    drop_rights()
    assert _message(folder) == f"{folder / locked} cannot be read: Permission denied"


def test_a_folder_behind_one_that_may_not_be_entered_is_named(powerless):
    place, drop_rights = powerless
    folder = write_folder(place / "locked" / "images", _files())
    (place / "locked").chmod(0)
    drop_rights()
    assert _message(folder) == f"{folder} cannot be read: Permission denied"


def test_an_address_that_is_too_long_is_told():
    place = "file:///" + "a" * 300
    assert _message(place) == f"{place} cannot be read: File name too long"


def test_a_link_in_a_circle_is_not_followed_for_ever(tmp_path):
    folder = write_folder(tmp_path, _files())
    (folder / "train" / "cat" / "again").symlink_to(folder)
    assert _read(folder)[0] == ("cat", "dog")


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    place = (tmp_path / "none").as_uri()
    assert _message(place) == f"{place} cannot be read: No such file or directory"


@pytest.mark.parametrize("place", ["http://host/x.zip", "file://host/x"])
def test_an_address_of_another_kind_is_refused(place):
    assert (
        _message(place) == f"data.source is {place!r}, expected a path, file:///folder or s3://bucket/prefix"
    )


def test_a_missing_zip_in_s3_is_named(s3):
    assert _message(f"{s3}/none.zip", StoreError) == f"{s3} has no object none.zip"


def test_an_empty_prefix_in_s3_has_no_images(s3):
    assert _message(f"{s3}/none") == _no_images(f"{s3}/none")


def test_an_object_that_vanishes_is_named(upload, s3):
    for name, content in _files().items():
        upload(name, content)
    opened = files.open_files(files.Location("store", s3, s3))
    open_store(s3).delete("train/cat/0.png")
    with pytest.raises(StoreError, match=f"^{s3} has no object train/cat/0.png$"):
        opened.read("train/cat/0.png")


@pytest.fixture
def many(tmp_path):
    contents = {
        f"{split}/{label}/{index:04}.png": png(_noise(4, 4, seed=index))
        for split in ("train", "test")
        for label in "ab"
        for index in range(510)
    }
    return tmp_path / "many.zip", contents


def test_several_processes_decode_what_one_does_and_say_how_far_they_are(many):
    place, contents = many
    write_zip(place, contents)
    said = []
    _, splits = _unpacked(
        read_folder(Data(source=str(place)), lambda done, total: said.append((done, total)))
    )
    for split, (pixels, _) in splits.items():
        expected = [
            decode.decode(contents[name], name)[None, :, :, 0]
            for name in sorted(contents)
            if name.startswith(split)
        ]
        np.testing.assert_array_equal(pixels, np.stack(expected))
    assert said == [(500, 2040), (1000, 2040), (1500, 2040), (2000, 2040), (2040, 2040)]


def test_mixed_sizes_are_told_at_once_and_no_process_is_left(many):
    place, contents = many
    write_zip(place, contents | {"train/a/0001.png": png(_noise(6, 4))})
    said = []
    with pytest.raises(DataError, match=r"train/a/0000.png is 4x4 and train/a/0001.png is 4x6"):
        read_folder(Data(source=str(place)), lambda done, _total: said.append(done))
    assert said == []
    assert multiprocessing.active_children() == []


def test_an_error_in_another_process_is_the_same_line(many):
    place, contents = many
    write_zip(place, contents | {"train/b/0100.png": b"no image"})
    assert _message(place) == f"train/b/0100.png cannot be decoded: {NO_IMAGE}; replace it or remove it"


def test_a_killed_process_is_told(many):
    place, contents = many
    slow = png(Image.new("1", (4000, 4000)))
    write_zip(place, contents | {f"train/b/x{index:04}.png": slow for index in range(1000)})

    def kill(_done, _total):
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(DataError) as caught:
        read_folder(Data(source=str(place)), kill)
    assert (
        str(caught.value)
        == f"a process decoding images of {place} was killed, perhaps out of memory; run again with more"
        " of it"
    )


def test_a_source_that_changed_is_read_again(tmp_path):
    for seed in range(2):
        contents = _files(lambda index, seed=seed: png(_noise(5, 4, 3, seed=seed + index)))
        pixels = _read(write_zip(tmp_path / "x.zip", contents))[1]["train"][0]
        np.testing.assert_array_equal(pixels, _expected(contents, "train"))


def test_real_images_packed_are_those_that_pillow_decodes(shared_cifar10, tmp_path):
    data = Data(source=str(shared_cifar10), limit=150, test_limit=50)
    store = open_store(str(tmp_path))
    manifest = pack.prepare(data, store)
    for split, each in (("train", 15), ("test", 5)):
        assert load_images(store, manifest, split).labels.bincount().tolist() == [each] * 10
    with zipfile.ZipFile(shared_cifar10) as archive:
        for split in ("train", "test"):
            names = sorted(name for name in archive.namelist() if name.startswith(split))
            classes = sorted({name.split("/")[1] for name in names})
            labels = np.array([classes.index(name.split("/")[1]) for name in names])
            chosen = balanced_choice(labels, manifest.count(split), data.seed, split)
            images = load_images(store, manifest, split)
            assert images.labels.tolist() == labels[chosen].tolist()
            for place, pixels in zip(chosen, images.pixels.numpy(), strict=True):
                np.testing.assert_array_equal(
                    pixels.transpose(1, 2, 0),
                    np.asarray(Image.open(io.BytesIO(archive.read(names[place]))).convert("RGB")),
                )
