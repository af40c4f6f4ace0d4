import io
import zipfile

import pytest

from lossmap.components.core import archives
from lossmap.components.core.archives import check_unpacked


def _zip(size, compression):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("zeros", bytes(size))
    return buffer.getvalue()


def test_what_unpacks_to_far_more_than_it_holds_is_refused(monkeypatch):
    monkeypatch.setattr(archives, "MOST_UNPACKED", 2**20)
    with pytest.raises(ValueError, match=f"^it would unpack from [0-9]+ to {2**21} bytes"):
        check_unpacked(_zip(2**21, zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize(
    "content",
    [_zip(2**18, zipfile.ZIP_DEFLATED), _zip(2**21, zipfile.ZIP_STORED), b"no archive"],
    ids=["small", "stored", "none"],
)
def test_what_is_small_or_hardly_compressed_passes(monkeypatch, content):
    monkeypatch.setattr(archives, "MOST_UNPACKED", 2**20)
    check_unpacked(content)
