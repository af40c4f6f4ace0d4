import argparse
import io
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.manifests import manifest
from reference.networks import Language, table
from safetensors.torch import save, save_model
from torch import nn

from lossmap.components.config.data import Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.models import Imported
from lossmap.components.config.parse import override, parse
from lossmap.components.config.training import Training
from lossmap.components.core.errors import ExperimentError
from lossmap.components.models import build
from lossmap.components.models.checkpoint_file import read_checkpoint
from lossmap.components.models.imported import network_registration, source_sha256
from lossmap.components.models.state import check_finite, load_state

HERE = manifest(1, 8)


def _imported(factory, **fields):
    return Imported(factory=f"reference.networks:{factory}", **fields)


def _saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def _scripted(network):
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # torch.jit is deprecated, and its files are there
        torch.jit.save(torch.jit.script(network), file)
    return file.getvalue()


def _arrays(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return file.getvalue()


def _load(network, value, key=None):
    """Load what torch.save writes of a value; returns the lines for people."""
    return load_state(network, read_checkpoint(_saved(value), "a.pt", key), "a.pt")


def _refused(call, *arguments):
    with pytest.raises(ExperimentError) as refused:
        call(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_function_and_a_class_make_networks_with_their_arguments():
    assert [
        layer.out_features for layer in build(_imported("table", arguments={"outputs": 9}), HERE)[::2]
    ] == [8, 9]
    assert build(_imported("Language", arguments={"vocabulary": 5}), HERE).embedding.num_embeddings == 5


def test_torchvisions_networks_are_made_as_they_are():
    network = build(Imported(factory="torchvision.models:resnet18", arguments={"num_classes": 10}), HERE)
    assert (type(network).__name__, network.fc.out_features) == ("ResNet", 10)


def test_random_weights_follow_from_the_models_seed_and_leave_torchs_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build(_imported("table", seed=seed), HERE)[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "module_in_the_current_folder.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Linear(2, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert build(Imported(factory="module_in_the_current_folder:make"), HERE).out_features == 3


@pytest.mark.parametrize(
    ("factory", "arguments", "line"),
    [
        (
            "nowhere.at_all:make",
            {},
            (
                f"nowhere.at_all cannot be imported from {Path.cwd()} or as an installed package:"
                " ModuleNotFoundError: No module named"
            ),
        ),
        (
            "reference.networks:nothing",
            {},
            "reference.networks has no nothing, expected one of its own names, such as COUNT, ",
        ),
        (
            "reference.networks:no_network",
            {},
            "reference.networks:no_network() returned list, expected a torch.nn.Module",
        ),
        (
            "reference.networks:failing",
            {"a": "b"},
            (
                "reference.networks:failing(a='b') failed: RuntimeError: out of ideas; set its arguments by"
                " model.arguments"
            ),
        ),
        (
            "reference.networks:table",
            {"x": 1},
            "reference.networks:table(x=1) failed: TypeError: table() got an unexpected keyword argument 'x'",
        ),
        (
            "reference.networks:COUNT",
            {},
            "reference.networks:COUNT() failed: TypeError: 'int' object is not callable",
        ),
    ],
)
def test_a_factory_that_does_not_work_is_one_line(factory, arguments, line):
    assert _refused(build, Imported(factory=factory, arguments=arguments), HERE).startswith(line)


@pytest.mark.parametrize("content", ["def make(:", "raise ValueError('no')", "import nothing_of_this_name"])
def test_a_module_that_cannot_be_imported_is_one_line(content, tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    assert _refused(build, Imported(factory="broken_module:make"), HERE).startswith(
        f"broken_module cannot be imported from {Path.cwd()}"
    )


@pytest.mark.parametrize("edited", ["changing", "changing_parts", "changing_loss"])
def test_a_source_that_changed_since_the_run_was_made_is_refused(edited, tmp_path, monkeypatch):
    sources = {
        "changing": "from torch import nn\nfrom changing_parts import WIDTH\n"
        "def make():\n    return nn.Linear(2, WIDTH)\n",
        "changing_parts": "WIDTH = 3\n",
        "changing_loss": "def loss(outputs, targets):\n    return outputs[:, 0]\n",
    }
    for name, text in sources.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    model = Imported(factory="changing:make", loss="changing_loss:loss")
    noted = model.model_copy(update={"source_sha256": source_sha256(model)})
    assert build(noted, HERE).out_features == 3
    (tmp_path / f"{edited}.py").write_text(sources[edited].replace("3", "4").replace("0", "1") + "# edited\n")
    expected = (
        "changing:make, the loss changing_loss:loss, or a module or package that they import has changed"
        " since the run was made, so that they may compute something else; start a new run"
    )
    assert _refused(build, noted, HERE) == expected


def test_a_network_that_was_handed_over_is_copied_and_known_only_meanwhile():
    model, network = Imported(factory="in process Sequential"), table()
    with network_registration(model, network):
        built = build(model, HERE)
    assert built is not network
    assert torch.equal(built[0].weight, network[0].weight)
    assert _refused(build, model, HERE).startswith(
        "the network of this run was handed over in Python, and only there can it be made: "
    )


STATE = {name: value.clone() for name, value in Language().state_dict().items()}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (save(STATE), "a.safetensors"),
        (_saved(STATE), "a.pt"),
        (_saved({"state_dict": STATE, "epoch": 3, "best": torch.tensor(0.5)}), "a.pth"),
        (_saved({"model": STATE, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}), "a.pt"),
        (_saved({"net": {f"module.{name}": value for name, value in STATE.items()}, "acc": 91.2}), "a.th"),
        (_saved({f"_orig_mod.module.{name}": value for name, value in STATE.items()}), "a.pt"),
        (
            _saved(
                {
                    "state_dict": {f"model.{name}": value for name, value in STATE.items()},
                    "hyper_parameters": {"lr": 1},
                }
            ),
            "a.ckpt",
        ),
    ],
)
def test_weights_are_found_in_every_usual_wrapping(content, name):
    network = Language()
    load_state(network, read_checkpoint(content, name), name)
    assert all(torch.equal(value, STATE[key]) for key, value in network.state_dict().items())


def test_weights_take_the_type_of_the_network():
    network = Language()
    _load(network, {name: value.half() for name, value in STATE.items()})
    assert network.head.weight.dtype == torch.float32
    assert torch.equal(network.head.weight, STATE["head.weight"].half().float())


@pytest.mark.parametrize(
    "write",
    [
        lambda value: value.half(),  # the count of batches, too
        lambda value: value.numpy(),  # whose scalars stay scalars
    ],
)
def test_statistics_of_batch_norm_are_found_in_other_types(write):
    norm, network = nn.BatchNorm1d(3, momentum=0.5), nn.BatchNorm1d(3)
    norm(torch.arange(12.0).reshape(4, 3))
    _load(network, {name: write(value) for name, value in norm.state_dict().items()})
    assert torch.equal(network.running_mean, norm.running_mean)
    assert not torch.equal(network.running_mean, torch.zeros(3))


def test_old_statistics_of_batch_norm_have_no_count_and_are_taken():
    network = nn.BatchNorm1d(3)
    _load(
        network,
        {name: value + 2 for name, value in network.state_dict().items() if name != "num_batches_tracked"},
    )
    assert network.running_mean.tolist() == [2.0] * 3


def test_tied_weights_are_loaded_from_a_file_that_holds_them_once(tmp_path):
    trained, network = Language(tied=True), Language(tied=True)
    save_model(trained, str(tmp_path / "a.safetensors"))
    state = read_checkpoint((tmp_path / "a.safetensors").read_bytes(), "a.safetensors")
    assert len(state.tensors) == 1
    load_state(network, state, "a.safetensors")
    assert torch.equal(network.head.weight, trained.embedding.weight)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda state: {"head.weight": state["head.weight"]},
            ": missing: embedding.weight; take the factory that wrote the file, or set its arguments by"
            " model.arguments",
        ),
        (
            lambda state: {**state, "head.bias": torch.zeros(11), "other": torch.zeros(1)},
            " (all its names are there): unexpected: head.bias, other; take the factory that wrote the"
            " file, or"
            " set its arguments by model.arguments",
        ),
        (
            lambda state: {**state, "head.weight": torch.zeros(1000, 6)},
            " (all its names are there): of another shape: head.weight is 1000×6, not 11×6; only the layer"
            " head"
            " differs, which has 1000 outputs in the file: set the factory's number by model.arguments,"
            " such as"
            " --factory-arguments '{\"num_classes\": 1000}'",
        ),
        (
            lambda state: {f"net.{name}": tensor[:, :2] for name, tensor in state.items()},
            " (all its names are there after net.): of another shape: embedding.weight is 11×2, not 11×6,"
            " head.weight is 11×2, not 11×6; set the factory's arguments by model.arguments",
        ),
        (
            lambda state: {f"{n}.w": torch.zeros(1) for n in range(6)},
            ": the network has embedding.weight, head.weight; the file has 0.w, 1.w, 2.w, 3.w and 2 more;"
            " none"
            " of the names agree: take the file of this network, or the factory that wrote the file",
        ),
        (
            lambda state: {f"{n}.w": tensor for n, tensor in enumerate(state.values())},
            ": the network has embedding.weight, head.weight; the file has 0.w, 1.w; all shapes agree in"
            " their"
            " order, so only the names differ: rename them in the file",
        ),
        (
            lambda state: {**state, "head.weight": torch.zeros(11, 6, dtype=torch.int8)},
            " (all its names are there): of another type: head.weight is int8, not float32; write the weights"
            " as floating-point numbers, from the network that they are loaded in",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(change, what):
    line = _refused(_load, Language(), change(STATE))
    assert line == f"a.pt does not fit the network Language{what}"


def _small():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


SMALL = {name: torch.rand_like(value, dtype=torch.float32) for name, value in _small().state_dict().items()}
SMALL["1.num_batches_tracked"] = torch.tensor(7)
HALF = {name: value / 2 if value.is_floating_point() else value for name, value in SMALL.items()}


def _after(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


class _Around(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = _small()


FOUND = {
    "averaged": (
        {**_after("module.", SMALL), "n_averaged": torch.tensor(3)},
        ["left aside in a.pt: n_averaged"],
    ),
    "sharded": (
        {name.replace(".", "._fsdp_wrapped_module.", 1): value for name, value in SMALL.items()},
        [],
    ),
    "compiled in the middle": (
        {"state_dict": _after("net._orig_mod.", SMALL)},
        ["weights are state_dict.net.* of a.pt"],
    ),
    "parallel in the middle": ({name.replace("1.", "1.module."): value for name, value in SMALL.items()}, []),
    "a criterion beside it": (
        {"state_dict": {**_after("model.", SMALL), "criterion.weight": torch.ones(3)}},
        ["weights are state_dict.model.* of a.pt", "left aside in a.pt: state_dict.criterion.weight"],
    ),
    "a criterion among it": (
        {**SMALL, "criterion.weight": torch.ones(3)},
        ["left aside in a.pt: criterion.weight"],
    ),
    "another network beside it": (
        {"state_dict": {**_after("encoder.", SMALL), **_after("decoder.", {"0.weight": torch.ones(2, 2)})}},
        ["weights are state_dict.encoder.* of a.pt", "left aside in a.pt: state_dict.decoder.0.weight"],
    ),
    "deep": ({"a": {"params": {"weights": SMALL}}, "epoch": 3}, []),
    "twice the same": ({"best": SMALL, "last": SMALL}, ["weights are best.* of a.pt"]),
    "settings and numbers": (
        {
            "model": SMALL,
            "args": argparse.Namespace(lr=0.1, folder=Path("x")),
            "best": np.float64(0.5),
            "curve": np.ones(3),
        },
        ["weights are model.* of a.pt"],
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_the_one_set_of_weights_that_fits_is_found_and_told(case):
    value, notes = FOUND[case]
    network = _small()
    assert _load(network, value) == notes
    assert all(torch.equal(tensor, SMALL[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("make", "notes"),
    [
        (_Around, ["weights are * of a.pt as network.*"]),
        (lambda: nn.DataParallel(_small()), []),
        (lambda: torch.compile(_small()), []),
    ],
)
def test_a_factory_that_wraps_the_network_gets_its_plain_weights(make, notes):
    network = make()
    assert _load(network, SMALL) == notes
    pairs = zip(network.state_dict().values(), SMALL.values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


SETS = {
    "state_dict_ema": {"state_dict": SMALL, "state_dict_ema": HALF},
    "discriminator": {"generator": SMALL, "discriminator": HALF},
    "net.discriminator": {"net": {**_after("generator.", SMALL), **_after("discriminator.", HALF)}},
    "models.1": {"models": [SMALL, HALF]},
    "ema": {**SMALL, "ema": HALF},
}


@pytest.mark.parametrize("key", SETS)
def test_of_several_sets_that_fit_one_is_chosen_by_its_key(key):
    line = _refused(_load, _small(), SETS[key])
    assert line.startswith("a.pt holds 2 sets of weights that fit the network Sequential: ")
    assert key in line
    assert "choose one: --weights a.pt:" in line
    for chosen in {key, key.rpartition(".")[2] if not key.endswith("1") else key}:
        network = _small()
        _load(network, SETS[key], chosen)
        assert all(torch.equal(tensor, HALF[name]) for name, tensor in network.state_dict().items())


def test_the_key_of_the_file_itself_is_a_dot():
    network = _small()
    _load(network, SETS["ema"], ".")
    assert torch.equal(network[0].weight, SMALL["0.weight"])


def test_a_key_that_is_not_there_is_told_with_those_that_are():
    line = _refused(_load, _small(), SETS["state_dict_ema"], "ema")
    assert (
        line == "a.pt has no weights under ema; it holds state_dict (9 tensors), state_dict_ema (9 tensors)"
    )
    two = {"a": {"net": SMALL}, "b": {"net": HALF}}
    assert _refused(_load, _small(), two, "net").startswith(
        "a.pt has weights under a.net and b.net, expected"
    )


def _normed(parametrized, kind):
    home = nn.utils.parametrizations if parametrized else nn.utils
    with warnings.catch_warnings(action="ignore"):  # the older ones are deprecated, and in many files
        return nn.Sequential(getattr(home, kind)(nn.Linear(4, 8))).eval()


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
@pytest.mark.parametrize("to_newer", [True, False])
def test_older_and_newer_parametrizations_read_each_others_weights(kind, to_newer):
    one, other = _normed(not to_newer, kind), _normed(to_newer, kind)
    assert _load(other, one.state_dict()) == []
    inputs = torch.randn(5, 4)
    torch.testing.assert_close(other(inputs), one(inputs))


def test_tied_weights_that_differ_in_the_file_are_refused():
    line = _refused(_load, Language(tied=True), {**STATE, "head.weight": torch.ones(11, 6)})
    assert line == (
        "embedding.weight and head.weight are one tensor in the network and differ in a.pt; give a factory"
        " that"
        " does not tie them, or a file with one of them"
    )


def test_weights_that_are_not_finite_are_refused_by_name():
    line = _refused(_load, _small(), {**SMALL, "2.weight": torch.full((3, 8), torch.nan)})
    assert line == (
        "a.pt gives the network 2.weight with 24 of 24 values that are not finite, first nan at (0, 0), so"
        " that"
        " its loss is no number; take a checkpoint from before the training diverged"
    )
    variance = {**SMALL, "1.running_var": torch.tensor([1.0] * 7 + [torch.nan])}
    assert "1.running_var with 1 of 8 values" in _refused(_load, _small(), variance)
    overflow = {**SMALL, "2.bias": torch.tensor([1, 1e300, 1], dtype=torch.float64)}
    assert "2.bias with 1 of 3 values that are not finite, first inf at (1)" in _refused(
        _load, _small(), overflow
    )


def test_a_sparse_tensor_has_its_values():
    network = _small()
    _load(network, {**SMALL, "0.weight": SMALL["0.weight"].to_sparse()})
    assert torch.equal(network.state_dict()["0.weight"], SMALL["0.weight"])


def test_infinity_in_a_mask_is_left():
    network = _small()
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    check_finite(network, "a.pt")


def test_a_process_part_of_a_checkpoint_is_told_as_what_it_is():
    content = _saved({"optimizer_state_dict": {"fp32_flat_groups": [torch.ones(2)]}})
    assert _refused(read_checkpoint, content, "a.pt") == (
        "a.pt is one process's part of a DeepSpeed checkpoint; make one file of all parts by its"
        " zero_to_fp32.py"
    )


class _Dangerous:
    def __reduce__(self):
        return (print, ("this must never be printed",))


@pytest.mark.parametrize(
    "content",
    [
        _saved(_Dangerous()),
        _saved(nn.Linear(1, 1)),
        pickle.dumps(_Dangerous()),
    ],
)
def test_a_file_that_needs_pickle_is_refused_with_the_cure_and_nothing_of_it_runs(content, capsys):
    line = _refused(read_checkpoint, content, "a.pt")
    assert "torch.save(model.state_dict(), FILE)" in line or line.startswith(
        "a.pt cannot be read as weights: "
    )
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "name", "line"),
    [
        (save(STATE)[:50], "a.safetensors", "a.safetensors cannot be read as weights: SafetensorError: "),
        (_saved(STATE)[:200], "a.pt", "a.pt cannot be read as weights: "),
        (
            _saved({"epoch": 3}),
            "a.pt",
            "a.pt holds epoch, expected tensors by name, perhaps under a key such as state_dict",
        ),
        (_saved([torch.zeros(1)]), "a.pt", "a.pt holds list, expected tensors by name"),
        (_saved({}), "a.pt", "a.pt holds nothing, expected tensors by name"),
        (
            b"<!doctype html>",
            "a.pt",
            "a.pt cannot be read as weights: it begins with b'<!doctype ht'; expected .safetensors, or what",
        ),
        *(
            (b"version https://git-lfs.github.com/spec/v1", name, f"{name} is a pointer of Git LFS, expected")
            for name in ("a.pt", "a.safetensors")
        ),
        (_scripted(nn.Linear(2, 1)), "a.pt", "a.pt is a TorchScript archive, which holds code besides its"),
        (_arrays(weight=np.ones(2)), "a.npz", "a.npz is an archive of numpy's; where its names are those of"),
        (
            _zipped("x/notes.txt"),
            "a.pt",
            "a.pt is a zip archive that torch.save did not write (x/notes.txt),",
        ),
        (_zipped(), "a.pt", "a.pt is a zip archive that torch.save did not write (nothing), expected the"),
        (_zipped("a/models/model.json"), "a.pt2", "a.pt2 is what torch.export wrote, a graph besides its"),
        (
            b"a: 1",
            "a.pt",
            "a.pt cannot be read as weights: it begins with b'a: 1'; expected .safetensors, or",
        ),
        (b"", "a.pt", "a.pt cannot be read as weights: it begins with b''; expected .safetensors, or what"),
        (
            _saved({"weight": torch.zeros(1, device="meta")}),
            "a.pt",
            "weight is on the device meta, where it has no values; write it from the CPU",
        ),
    ],
)
def test_a_file_without_weights_is_refused(content, name, line):
    assert _refused(read_checkpoint, content, name).startswith(line)


@pytest.mark.parametrize("factory", ["resnet18", "a:", ":b", "a b:c", "a:b()", "os.system"])
def test_what_is_no_name_of_a_factory_is_refused(factory):
    line = _refused(parse, {"model": {"architecture": "imported", "factory": factory}})
    assert (
        line == f"model: factory is {factory!r}, expected package.module:function, for example"
        " torchvision.models:resnet18"
    )


def test_an_imported_network_is_not_trained_and_every_other_is():
    experiment = parse({"model": {"architecture": "imported", "factory": "a:b"}})
    assert (experiment.training, experiment.nodes, experiment.loss) == (None, 0, "cross-entropy")
    assert Experiment(model=Imported(factory="a:b", loss="mse")).loss == "mse"
    assert (
        _refused(parse, {"training": None})
        == "training is null and model.architecture is resnet, expected settings: only imported networks are"
        " not trained"
    )
    assert (
        _refused(
            parse,
            {"model": {"architecture": "imported", "factory": "a:b"}, "training": Training().model_dump()},
        )
        == "model.architecture is imported and training has settings, expected training: null, since an"
        " imported network is not trained"
    )
    assert (
        _refused(lambda: experiment.training_settings)
        == "the network of experiment is imported, expected one that lossmap trains"
    )


def test_an_imported_network_without_checkpoints_has_no_trajectory():
    line = _refused(
        parse,
        {"model": {"architecture": "imported", "factory": "a:b"}, "landscape": {"directions": "trajectory"}},
    )
    assert line.endswith(
        "expected checkpoints of its training, from which the path is made; give them by --checkpoints FILE"
        " FILE … (model.trajectories)"
    )


def test_several_paths_have_labels_of_their_own():
    path = {"checkpoints": ["a.pt", {"weights": "b.pt", "weights_key": "ema"}]}
    for labels in (["sgd", "sgd"], ["sgd", ""]):
        model = {"architecture": "imported", "factory": "a:b"}
        model["trajectories"] = [{**path, "label": label} for label in labels]
        line = _refused(parse, {"model": model})
        assert f"trajectories have the labels {labels}, expected a label of its own for each" in line
    model["trajectories"] = [path]
    found = parse({"model": model}).model.trajectories[0].checkpoints
    assert [each.name for each in found] == ["a.pt", "b.pt:ema"]


def test_the_factorys_arguments_can_be_set_one_by_one():
    experiment = override(
        parse({"model": {"architecture": "imported", "factory": "a:b"}}),
        ["model.arguments.num_classes=10", "landscape.samples=5"],
    )
    assert (experiment.model.arguments, experiment.landscape.samples) == ({"num_classes": 10}, 5)
    assert _refused(override, experiment, ["model.argument.x=1"]).startswith(
        "the experiment has no field model.argument; did you mean model.arguments"
    )


def test_an_imported_experiment_survives_yaml_and_json():
    experiment = Experiment(
        model=_imported("table", arguments={"a": [1, {"b": None}]}, weights="s3://bucket/w.pt"),
        data=Data(source="a.npz"),
    )
    assert override(experiment, []) == experiment
    assert Experiment.model_validate_json(experiment.canonical_json()).digest() == experiment.digest()


def test_only_imported_networks_take_tensors():
    assert re.search(
        "^data.source is 'x.npz', a file of tensors, and model.architecture is resnet, ",
        _refused(parse, {"data": {"source": "x.npz"}}),
    )
