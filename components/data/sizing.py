"""How one image becomes an array: its channels, its size, and what is cut out of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lossmap.components.config.data import Data
from lossmap.components.core.errors import DataError

_GREY = ("1", "L", "LA")
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Sizing:
    """Attributes are those of Data."""

    image_size: int | None = None
    crop: int | None = None
    interpolation: str | None = None
    channels: int | None = None

    @classmethod
    def of(cls, data: Data) -> "Sizing":
        """What a data set asks for."""
        return cls(data.image_size, data.crop, data.interpolation, data.channels)

    @property
    def is_plain(self) -> bool:
        """Whether pixels stay as they are."""
        return not (self.image_size or self.crop)

    def side(self) -> int | None:
        """Pixels a side of every image; None where they are as in the files."""
        return self.crop or self.image_size

    def array(self, image: Image.Image, name: str) -> NDArray[np.uint8]:
        """Pixels, uint8 H x W x C. A grey image has one channel, unless another number is asked for;
        transparency is dropped.

        With a crop, the shorter side is resized to image_size and the centre is cut out, as by torchvision's
        Resize and CenterCrop.

        Raises:
            DataError: the image is smaller than the crop.
        """
        mode = "L" if image.mode in _GREY else "RGB"
        converted = image.convert(mode)
        if self.channels:
            converted = converted.convert("L" if self.channels == 1 else "RGB")
        array = np.asarray(self._cropped(converted, name) if self.crop else self._squeezed(converted))
        return array[:, :, None] if array.ndim == 2 else array

    def _squeezed(self, image: Image.Image) -> Image.Image:
        if not self.image_size:
            return image
        resampling = _FILTERS[self.interpolation or "bicubic"]
        return image.resize((self.image_size, self.image_size), resampling)

    def _cropped(self, image: Image.Image, name: str) -> Image.Image:
        from torchvision.transforms import InterpolationMode, functional

        if self.image_size:
            mode = InterpolationMode(self.interpolation or "bilinear")
            image = functional.resize(image, [self.image_size], mode)
        if min(image.size) < (self.crop or 0):
            raise DataError(
                f"{name} is {image.width}x{image.height} and data.crop is {self.crop}, expected at most"
                f" {min(image.size)}; resize first by data.image_size, or crop less"
            )
        cut: Image.Image = functional.center_crop(image, [self.crop, self.crop])
        return cut


AS_IT_IS = Sizing()
