"""Everything that chains the steps and drives them: the command line, the recipes, the executors."""

if __name__ != "lossmap.pipelines":
    raise ImportError(
        "import lossmap.pipelines, not pipelines: run `pip install -e .` and import by the installed name"
    )
