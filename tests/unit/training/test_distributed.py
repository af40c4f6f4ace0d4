import pytest
import torch
from support.training import only_rank

from lossmap.components.core.errors import TrainingError
from lossmap.components.training.distributed import process_group


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_pod_that_asked_for_gpus_and_sees_none_does_not_train_on_its_cpu(monkeypatch):
    monkeypatch.setenv("LOSSMAP_GPUS", "1")
    with (
        only_rank(),
        pytest.raises(TrainingError, match=r"^cluster.profile is gpu, and torch sees 0 GPUs for 1 "),
        process_group("auto"),
    ):
        pass
