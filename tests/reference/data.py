"""Slow, obvious second implementations of data preparation: one image, one pixel at a time."""

import io
import zipfile

import numpy as np
from PIL import Image

from lossmap.components.data.batches import as_inputs, load_packed


def png(pixels, mode=None):
    """An array or image as a PNG file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels, mode)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def write_folder(folder, files):
    """Files by name, below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_zip(path, files, compression=zipfile.ZIP_STORED):
    """Files by name, in a zip."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def decoded(content, channels):
    """Channels x height x width, read pixel by pixel."""
    image = Image.open(io.BytesIO(content))
    image = image.convert("RGBA") if image.mode == "P" else image
    image = image.convert("L" if channels == 1 else "RGB")
    array = np.empty((channels, image.height, image.width), np.uint8)
    for row in range(image.height):
        for column in range(image.width):
            array[:, row, column] = image.getpixel((column, row))
    return array


def augment(pixels, padding, flips, rows, columns, border):
    """Each image is written into a larger one filled with the border colour, cut out at its offsets, then
    mirrored.
    """
    result = np.empty_like(pixels)
    for index, image in enumerate(pixels):
        channels, height, width = image.shape
        for channel in range(channels):
            larger = [[border[channel]] * (width + 2 * padding) for _ in range(height + 2 * padding)]
            for row in range(height):
                for column in range(width):
                    larger[row + padding][column + padding] = image[channel, row, column]
            for row in range(height):
                line = larger[rows[index] + row][columns[index] : columns[index] + width]
                result[index, channel, row] = line[::-1] if flips[index] else line
    return result


def normalize(pixels, mean, deviation):
    """(pixel / 255 - mean) / deviation, number by number, in float64."""
    result = np.empty(pixels.shape)
    for index in np.ndindex(*pixels.shape):
        result[index] = (int(pixels[index]) / 255 - mean[index[1]]) / deviation[index[1]]
    return result


def load_samples(store, manifest, split, indices):
    """Inputs and targets of some samples of a split, in the order of the indices, as a network and a loss get
    them: from all of it.
    """
    inputs, targets = load_packed(store, manifest, split)
    return as_inputs(inputs[indices], manifest), targets[indices]
