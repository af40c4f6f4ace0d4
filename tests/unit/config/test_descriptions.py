from typing import get_args

import pytest
from pydantic import BaseModel

from lossmap.components.config.connection import Connecting
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.study import Study

# Words that a phrase begins with which can be read only beside another one.
DEPENDENT = {"of", "where", "for", "after", "likewise", "by", "without", "on", "that", "the others"}


def models(annotation):
    """Every model in a type, and in the types of its fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for part in get_args(annotation):
        yield from models(part)


FIELDS = {
    f"{model.__name__}.{name}": field.description
    for root in (Experiment, Study, Connecting)
    for model in models(root)
    for name, field in model.model_fields.items()
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_fields_description_can_be_read_by_itself(field):
    description = FIELDS[field]
    assert description
    assert description.split()[0] not in DEPENDENT
    assert "likewise" not in description
