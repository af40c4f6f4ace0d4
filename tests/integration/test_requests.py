"""What a run asks of an S3 server, by the server's own log: of all processes together."""

import logging
import re
from collections import Counter

import pytest
from support.command_line import lossmap
from support.training import in_process

from lossmap.components import steps
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Convexity, Curvature, Landscape, Plane
from lossmap.components.config.models import Mlp
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Training
from lossmap.pipelines.local import open_run

_REQUEST = re.compile(r'"(GET|HEAD|PUT|DELETE) ([^?" ]+)(\S*) HTTP')
_LINE = re.compile(r"\x1b\[[0-9;]*m")
_DOCUMENTS = ("experiment.json", "dataset.json", "links.json", "plan.json", "manifest.json")
SMALL = ("data.blobs.train_per_class=40", "training.epochs=3", "landscape.samples=50", "landscape.workers=2")
POINTS = ("landscape.plane={x: {points: 9}, y: {points: 9}}", "landscape.line={points: 17}")


@pytest.fixture
def requests(caplog):
    """A function that returns (method, path, is a listing) of every request so far."""
    caplog.set_level(logging.INFO, "werkzeug")

    def so_far():
        lines = [_LINE.sub("", record.getMessage()) for record in caplog.records if record.name == "werkzeug"]
        found = [match for line in lines if (match := _REQUEST.search(line))]
        return [(match[1], match[2], "list-type" in match[3]) for match in found]

    return so_far


def _reads(requests):
    """How often objects of a name were read, by name."""
    return Counter(
        path.rpartition("/")[2] for method, path, lists in requests() if method == "GET" and not lists
    )


def test_a_small_run_asks_the_store_at_most_45_times(s3, tmp_path, requests):
    options = [word for field in (*SMALL, *POINTS) for word in ("--set", field)]
    lossmap("run", "blobs-mlp", *options, "--store", s3, cwd=tmp_path)
    asked = [path for method, path, _ in requests() if method in ("GET", "HEAD")]
    assert 20 < len(asked) <= 45  # 30 times what is there, 15 times whether it is
    reads = _reads(requests)
    assert not {"experiment.json", "dataset.json", "links.json", "plan.json"} & set(reads)
    assert reads["train-00000.safetensors"] == 3  # two training processes, and who draws the samples


def test_neither_pairs_nor_parts_nor_workers_read_documents_or_shards_again(s3, tmp_path, requests, tracking):
    settings = Settings(store=s3, tracking=tracking(tmp_path))
    experiment = Experiment(
        data=Data(source="blobs", blobs=Blobs(train_per_class=20, test_per_class=5)),
        model=Mlp(hidden=(4,)),
        training=Training(epochs=1, batch_size=16),
        landscape=Landscape(
            plane=Plane(x=Axis(points=5), y=Axis(points=5)),
            line=None,
            pairs=3,
            samples=40,
            curvature=Curvature(samples=20, trace_products=4),
            convexity=Convexity(plane=Plane(x=Axis(points=2), y=Axis(points=2)), samples=60),
            tile_points=7,
            workers=2,
        ),
    )
    run = open_run("run", settings)
    steps.prepare(run, experiment)
    steps.train(run, settings, launch=in_process(settings))
    before = _reads(requests)
    assert (before["train-00000.safetensors"], before["manifest.json"]) == (1, 1)  # by the training
    steps.merge(run, first=steps.plan(run))
    reads = _reads(requests) - before
    assert sum(reads[name] for name in _DOCUMENTS) == 0
    assert reads["train-00000.safetensors"] == 1
    assert reads["samples.safetensors"] == 2  # by each worker
    assert reads["weights.safetensors"] == 3  # by them, and by who plans
    tiles = [path for method, path, _ in requests() if method == "GET" and "/tiles/" in path]
    assert len(tiles) == len(set(tiles)) == 3 * 4 + 1 + 4
