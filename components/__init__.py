"""Steps of the chain (verb modules) and the libraries they call (noun folders)."""

if __name__ != "lossmap.components":
    raise ImportError(
        "import lossmap.components, not components: run `pip install -e .` and import by the installed name"
    )
