"""How many points a survey has still to evaluate, at most."""

from reference.manifests import manifest

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Axis, Landscape, Plane
from lossmap.components.landscape.grid import Result
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Part, Survey
from lossmap.components.surveys.pending import points_to_evaluate
from lossmap.components.surveys.tiles import cut, evaluate_tile

PLANE = Plane(x=Axis(points=9), y=Axis(points=9))


def test_points_that_several_grids_share_and_those_that_are_known_count_once_or_not(tmp_path):
    line = Axis(low=-2, high=2, points=17)  # nine of its points are on the plane
    parts = (
        Part(kind="loss", address="5" * 64, plane="5" * 64),
        Part(kind="curvature", address="6" * 64, plane="5" * 64),
    )
    for name, adaptive in (("whole", None), ("adaptive", Adaptive())):
        run = Run(open_store(str(tmp_path / name)), name)
        run.begin(Experiment(landscape=Landscape(plane=PLANE, line=line, adaptive=adaptive)))
        run.keep_manifest(manifest())
        run.keep_survey(Survey(parts=parts))
        assert points_to_evaluate(run) == 81 + 8 + 1
        (tile,) = cut(parts[0], [(0.0, 0.0), (2.0, 0.0), (5.0, 5.0)], 3)
        evaluate_tile(run.store, tile, lambda x, y: Result(x + y, 0.5, 0.1))
        assert points_to_evaluate(run) == 81 + 8 + 1 - 2
