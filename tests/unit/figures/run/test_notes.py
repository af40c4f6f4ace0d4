from dataclasses import replace

from reference.summaries import summary

from lossmap.components.figures.run.captions import evaluation


def test_what_one_has_to_know_about_the_weights_stands_in_the_caption():
    run = summary("run")
    noted = replace(run, result=replace(run.result, notes=("5 of 9 weights are frozen and do not move.",)))
    assert evaluation(noted) == f"{evaluation(run)} 5 of 9 weights are frozen and do not move."
