import pytest

from lossmap.components.core.estimates import Estimate
from lossmap.components.figures.run.details import layer_groups, layers_figure
from lossmap.components.landscape.hessian.curvature import CurvatureResult


def curvature(names: list[str]) -> CurvatureResult:
    traces = {name: Estimate(value=float(n), low=n - 0.5, high=n + 0.5) for n, name in enumerate(names, 1)}
    return CurvatureResult(
        samples=8,
        parameters=100,
        largest=(),
        smallest=(),
        negative_to_positive=None,
        trace=Estimate(value=1.0),
        trace_probe_error=None,
        trace_sample_error=None,
        layer_traces=traces,
    )


def test_layers_of_a_deep_network_are_joined_by_its_blocks_in_its_order():
    stages = [f"stages.{s}.{b}.conv{c}.weight" for s in range(3) for b in range(3) for c in (1, 2)]
    found = layer_groups(curvature(["stem.weight", *stages, "head.weight", "head.bias"]))
    assert len(found) == 20  # every module
    deep = [f"stages.{s}.{b}.conv{c}.weight" for s in range(3) for b in range(7) for c in (1, 2)]
    found = layer_groups(curvature(["stem.weight", *deep, "head.weight", "head.bias"]))
    assert list(found)[:2] == ["stem", "stages.0.0"]
    assert list(found)[-1] == "head"
    assert len(found) == 23
    assert list(found["head"]) == ["head.weight", "head.bias"]


def test_bars_are_sums_whose_intervals_are_never_too_short_and_names_are_text():
    (bars,) = layers_figure(curvature(["<b>.weight", "<b>.bias", "weight"])).data
    assert list(bars.y) == ["&lt;b&gt;", "weight"]
    assert list(bars.x) == [3.0, 3.0]
    assert list(bars.error_x.array) == pytest.approx([1.0, 0.5])
