"""Lines for people that are no errors: what was chosen for them, passed over, or left aside."""

import logging

from lossmap.components.core.secrets import public_line

_logger = logging.getLogger("lossmap")


def tell(line: str) -> None:
    """Say a line on standard error, or wherever the program that uses lossmap sends its log."""
    _logger.warning("  note: %s", public_line(line))
