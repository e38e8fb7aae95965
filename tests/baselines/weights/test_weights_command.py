"""`liftbench weights`: official checkpoints of every layout become one safetensors file; the rest is refused."""

import hashlib
import http.server
import json
import os
import threading
import warnings
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from liftbench import create_model, list_models, load_weights
from liftbench.baselines.errors import InputError
from liftbench.baselines.files import sha256
from liftbench.baselines.registry import entry
from liftbench.baselines.weights import fetch as fetching
from liftbench.baselines.weights.convert import convert, inspect
from liftbench.baselines.weights.read import read_checkpoint
from liftbench.baselines.weights.trained import open_weights
from liftbench.bench import cli
from liftbench.lift.weights import shipped

FRAMES = 9
# What tensors alone cannot tell apart: the scan orders of PoseMamba-S, the axis of the transformer's attention.
TWINS = {name: "posemamba_s" for name in list_models() if name.startswith("posemamba_s_")}
TWINS |= dict.fromkeys(("stcformer_81", "stcformer_243"), "stcformer_27")  # no tensor depends on T
# Too large to test every time; each kind has a smaller model that is tested.
LARGE = {
    "posemamba_x", "posemamba_b", "posemamba_l", "posemamba_s_global", "posemamba_s_fs_ft", "posemamba_s_fs_bt",
    "posemamba_s_bs_ft", "pose3dm_b", "pose3dm_l", "mdtf_large", "transformer_published", "motionagformer_s",
    "motionagformer_b", "motionagformer_l", "mixste", "motionbert", "stcformer_81", "stcformer_243", "stcformer_l",
    "poseformerv2_81", "poseformerv2_243", "videopose3d_81", "videopose3d_243",
}  # fmt: skip
EXACT_LENGTH = ("mixste", "motionagformer")  # which take clips of exactly T frames
TWINS |= {"transformer_published": "transformer"}


def random_model(name, frames=FRAMES, **numbers):
    """Make a model without constant tensors, because zeros would hide a mistaken key."""
    torch.manual_seed(0)
    model = create_model(name, frames=frames, **numbers).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        for key, buffer in model.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer += torch.rand_like(buffer)
    return model


def save(module, path, key="model_pos", optimizer=False, **options):
    """Save `module` as the official code does."""
    checkpoint = {"epoch": 7, "lr": 1e-4, "min_loss": np.float64(41.8)}
    checkpoint[key] = {f"module.{name}": value for name, value in module.state_dict().items()}
    if optimizer:
        sum(parameter.sum() for parameter in module.parameters()).backward()
        optimizer = torch.optim.AdamW(module.parameters(), lr=0)  # fills its state, moves nothing
        optimizer.step()
        checkpoint["optimizer"] = optimizer.state_dict()
    torch.save(checkpoint, path, **options)
    return path


def save_stages(model, folder):
    return [save(getattr(model, stage), folder / f"{stage}.pth.tr", "model") for stage in ("refinement", "bone_aware")]


def unpack(path, folder):
    """Unpack a checkpoint as a file manager does."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def write_zip(path, source, change):
    """Copy the checkpoint `source` after `change` has edited its entries, a dict by name."""
    with zipfile.ZipFile(source) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    compression = change(entries) or zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def toy():
    return random_model("posemamba_toy")


@pytest.fixture(scope="module")
def toy_file(toy, tmp_path_factory):
    return save(toy, tmp_path_factory.mktemp("official") / "best_epoch.bin")


def assert_same_weights(model, path, name="posemamba_toy"):
    loaded = load_weights(create_model(name, frames=FRAMES), path).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in list_models()]
)
def test_round_trip_at_full_size(name, tmp_path):
    """Official checkpoint -> safetensors -> model: the same outputs, for every variant with its published numbers."""
    pose3dm = name.startswith("pose3dm")
    published = entry(name).frames
    model = random_model(name, published, **({"official_depth": 5} if pose3dm else {}))
    paths = save_stages(model, tmp_path) if entry(name).stages else [save(model, tmp_path / "best_epoch.bin")]
    path, provenance = convert(paths, tmp_path / "out.safetensors", model=name if name in TWINS else None)

    assert (provenance["model"], provenance["frames"]) == (name, published)
    ours = create_model(name)
    unused = sum(value.numel() for value in model.parameters()) - sum(value.numel() for value in ours.parameters())
    assert provenance["left_out_parameters"] == unused and (unused > 0) == pose3dm
    assert provenance["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    ours = load_weights(ours, path).eval()
    short = entry(name).output == "sequence" and not name.startswith(EXACT_LENGTH)
    keypoints = torch.rand(1, 3 if short else published, 17, entry(name).channels)
    with torch.no_grad():
        assert torch.equal(ours(keypoints), model(keypoints))


@pytest.mark.parametrize(("name", "first"), [("posemamba_s_fs_bt", "posemamba_s"), *list(TWINS.items())[-1:]])
def test_twins_are_named(name, first, tmp_path):
    source = save(random_model(name), tmp_path / "best_epoch.bin")
    _, provenance = convert([source], tmp_path / "out.safetensors")
    assert provenance["model"] == first and name in provenance["also_fits"]


@pytest.mark.parametrize(
    ("suffix", "key", "options"),
    [
        ("bin", "model_pos", {}),
        ("pth.tr", "model", {"optimizer": True}),
        ("pt", "model", {"_use_new_zipfile_serialization": False}),
        ("pth", "model_pos", {"_use_new_zipfile_serialization": False, "optimizer": True}),
    ],
)
def test_official_files(tmp_path, toy, suffix, key, options):
    source = save(random_model("posemamba_toy"), tmp_path / f"best_epoch.{suffix}", key, **options)
    path, provenance = convert([source], tmp_path / "new" / "toy.safetensors")
    assert_same_weights(toy, path)
    assert json.loads(path.with_suffix(".json").read_text()) == provenance
    assert provenance["sources"] == [{
        "file": source.name, "from": None, "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "format": "torch checkpoint" + (" before PyTorch 1.6" if "_use_new_zipfile_serialization" in options else ""),
        "facts": {"epoch": 7, "lr": 1e-4, "min_loss": 41.8}, "stripped": [key, "the prefix module."],
    }]  # fmt: skip
    assert provenance["parameters"] == sum(value.numel() for value in toy.parameters())
    assert sorted(file.name for file in path.parent.iterdir()) == ["toy.json", "toy.safetensors"]


def test_safetensors_of_others_and_of_ours(tmp_path, toy):
    source = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(toy.state_dict(), source)
    once, _ = convert([source], tmp_path / "once.safetensors")
    assert_same_weights(toy, once)
    twin = save(random_model("posemamba_s_global"), tmp_path / "global.bin")
    ours, _ = convert([twin], tmp_path / "ours.safetensors", model="posemamba_s_global")
    again, provenance = convert([ours], tmp_path / "again.safetensors")
    assert provenance["model"] == "posemamba_s_global", "a file of ours says which of the twins it is"
    assert read_checkpoint(again).facts == {"model": "posemamba_s_global", "frames": FRAMES, "epoch": 7}


@pytest.mark.parametrize("depth", ["best_epoch", "."])
def test_unpacked_folder(tmp_path, toy, toy_file, depth):
    """What users have: data.pkl beside data/, or the folder around the folder that holds it."""
    folder = unpack(toy_file, tmp_path / "unpacked") / depth
    (folder / ".DS_Store").write_bytes(b"left by a file manager")
    path, provenance = convert([folder], tmp_path / "toy.safetensors")
    assert_same_weights(toy, path)
    assert_same_weights(toy, folder)
    assert provenance["sources"][0]["format"] == "torch checkpoint, unpacked into a folder"
    assert provenance["sources"][0]["sha256"] == sha256(folder)


def damage_empty(folder):
    for file in sorted(folder.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()


def damage_head(folder):
    (folder / "data.pkl").unlink()


def damage_data(folder):
    (folder / "data").rename(folder / "dta")


def damage_storage(folder):
    (folder / "data" / "3").unlink()


def damage_length(folder):
    (folder / "data" / "3").write_bytes((folder / "data" / "3").read_bytes()[:-4])


def damage_link(folder):
    (folder / "data" / "3").rename(folder.parent / "elsewhere")
    (folder / "data" / "3").symlink_to(folder.parent / "elsewhere")


def damage_pipe(folder):
    (folder / "data" / "3").unlink()
    os.mkfifo(folder / "data" / "3")


def damage_twice(folder):
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    (folder / "data.pkl").rename(folder / "a" / "data.pkl")
    (folder / "b" / "data.pkl").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "pattern"),
    [
        (damage_empty, "holds no unpacked checkpoint .*Give a checkpoint file, or the folder"),
        (damage_head, "holds no unpacked checkpoint"),
        (damage_data, "lacks the folder data/"),
        (damage_storage, "lacks the file data/3"),
        (damage_length, "it is not a torch checkpoint, or it is damaged"),
        (damage_link, "3 is a link"),
        (damage_pipe, "3 is a link or not a plain file. Unpack it again"),
        (damage_twice, "holds 2 unpacked checkpoints"),
    ],
)
def test_damaged_folders(tmp_path, toy_file, damage, pattern):
    folder = unpack(toy_file, tmp_path / "unpacked") / "best_epoch"
    damage(folder)
    with pytest.raises(InputError, match=pattern):
        convert([folder], tmp_path / "toy.safetensors")
    assert not list(tmp_path.glob("toy.*"))


def test_one_part_of_an_unpacked_checkpoint(tmp_path, toy_file):
    folder = unpack(toy_file, tmp_path) / "best_epoch"
    with pytest.raises(InputError, match="is one part of an unpacked checkpoint. Give its folder, .*best_epoch"):
        read_checkpoint(folder / "data.pkl")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch made_by_the_attack",)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("packed", [True, False])
def test_hostile_pickles_run_nothing(tmp_path, monkeypatch, toy, options, packed):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.bin"
    torch.save({"model_pos": toy.state_dict(), "epoch": Hostile()}, path, **options)
    if not packed and not options:
        path = unpack(path, tmp_path / "unpacked")
    for use in (inspect, lambda file: convert([file], tmp_path / "toy.safetensors")):
        with pytest.raises(InputError, match="Cannot read .*: it asks to run (posix|nt).system"):
            use(path)
    assert not (tmp_path / "made_by_the_attack").exists() and not list(tmp_path.glob("toy.*"))


def bomb(entries):
    entries["best_epoch/data/0"] = bytes(50_000_000)
    return zipfile.ZIP_DEFLATED


def climb(entries):
    entries["best_epoch/../../escaped"] = b"x"


def absolute(entries):
    entries["/tmp/escaped"] = b"x"


def no_pickle(entries):
    entries["best_epoch/weights.bin"] = entries.pop("best_epoch/data.pkl")


def torch_script(entries):
    entries["best_epoch/constants.pkl"] = entries["best_epoch/data.pkl"]
    entries["best_epoch/code/model.py"] = b""


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (bomb, "Cannot read .*: it is compressed"),
        (climb, "Cannot read .*: no checkpoint has the entry 'best_epoch/../../escaped'"),
        (absolute, "Cannot read .*: no checkpoint has the entry '/tmp/escaped'"),
        (no_pickle, "is a zip archive, but not a checkpoint. Give the checkpoint inside"),
        (torch_script, "it is not a torch checkpoint, or it is damaged"),
    ],
)
def test_odd_archives(tmp_path, toy_file, change, pattern):
    path = write_zip(tmp_path / "odd.bin", toy_file, change)
    with pytest.raises(InputError, match=pattern):
        convert([path], tmp_path / "deep" / "toy.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["odd.bin"]


def test_overlapping_entries_are_refused(tmp_path, toy_file):
    """A bomb without compression: many entries that share the same bytes."""
    path = tmp_path / "overlap.bin"
    with open(toy_file, "rb") as source, zipfile.ZipFile(source) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    with open(path, "wb") as file:
        file.write(toy_file.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(1000, 1000 + path.stat().st_size // largest.file_size + 1):
            twin = zipfile.ZipInfo(f"best_epoch/data/{number}")
            twin.file_size = twin.compress_size = largest.file_size
            twin.header_offset, twin.CRC = largest.header_offset, largest.CRC
            archive.filelist.append(twin)
        archive._didModify = True
    with pytest.raises(InputError, match="Cannot read .*: it is compressed"):
        read_checkpoint(path)


def test_tensors_that_are_larger_than_their_storage(tmp_path):
    """A few bytes that claim to be a tensor of terabytes."""
    path = tmp_path / "wide.bin"
    torch.save({"model_pos": {"head.0.weight": torch.zeros(1).expand(10**12)}}, path)
    with pytest.raises(InputError, match="'head.0.weight' is a tensor of torch.float32, .1000000000000,., that is not"):
        inspect(path)


def test_no_damage_escapes_as_another_error(tmp_path, toy_file):
    content, draw = toy_file.read_bytes(), np.random.default_rng(0)
    pickled = content.index(b"data.pkl")
    for _ in range(60):
        damaged = bytearray(content)
        for place in draw.integers(pickled, pickled + 20_000, 3):
            damaged[place] = draw.integers(256)
        path = tmp_path / "damaged.bin"
        path.write_bytes(damaged[: draw.integers(len(content))] if draw.random() < 0.2 else damaged)
        try:
            read_checkpoint(path)
        except InputError as error:
            assert len(str(error).splitlines()) == 1


def test_what_fits_nothing(tmp_path, toy):
    def refused(pattern, paths, **options):
        with pytest.raises(InputError, match=pattern):
            convert(paths, tmp_path / "out.safetensors", **options)
        assert not list(tmp_path.glob("out.*"))

    whole = save(toy, tmp_path / "toy.bin")
    refused("as posemamba_b: its tensors fit posemamba_toy", [whole], model="posemamba_b")
    refused("find the model 'posemamba_toi': no model .* Did you mean posemamba_toy", [whole], model="posemamba_toi")
    state = toy.state_dict()
    state["extra"] = state.pop("head.1.bias")
    torch.save({"model": state}, tmp_path / "extra.bin")
    refused(
        r"fits no registered model; the nearest is posemamba_toy \(1 missing: head.1.bias; 1 not in the model: extra",
        [tmp_path / "extra.bin"],
    )
    state = toy.state_dict() | {"head.1.bias": torch.tensor([0, float("nan"), 0])}
    torch.save({"model": state}, tmp_path / "nan.bin")
    refused("values of head.1.bias are not finite", [tmp_path / "nan.bin"])
    refinement, bone_aware = save_stages(random_model("mdtf_tiny"), tmp_path)
    refused("holds only the stage bone_aware of mdtf_tiny and mdtf_large. Give the files of both", [bone_aware])
    refused("holds only the stage refinement of mdtf_tiny. Give the files of both stages", [refinement])
    refused("holds the stage refinement, as another does", [refinement, refinement])
    refused("toy.bin with the others: it is a whole model. Give one file for each stage", [refinement, whole])
    refused("as mdtf_large: its tensors fit mdtf_tiny", [refinement, bone_aware], model="mdtf_large")


def test_a_converted_file_evaluates_without_options(tmp_path, toy_file):
    path, _ = convert([toy_file], tmp_path / "toy.safetensors")
    known = open_weights(path)
    assert (known.model_name, known.frames, known.epoch) == ("posemamba_toy", FRAMES, 7)


def test_the_commands(tmp_path, toy_file, host, capsys, monkeypatch):
    def run(*words):
        monkeypatch.setattr("sys.argv", ["liftbench", "weights", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0, *capsys.readouterr()

    code, out, _ = run("inspect", toy_file)
    assert code == 0 and "posemamba_toy: all of its" in out and "41.8" in out
    code, out, _ = run("convert", toy_file)
    assert code == 0 and "wrote weights/posemamba_toy.safetensors: posemamba_toy, 9 frames" in out
    code, _, err = run("convert", toy_file)
    assert code == 2 and len(err.splitlines()) == 1 and "weights/posemamba_toy.safetensors: it exists" in err

    host.files["someone/weights"] = toy_file.read_bytes()
    code, out, _ = run("fetch", "posemamba_toy", "--hosts", "hosts.yaml", "--out", "other.safetensors")
    assert code == 0 and "downloading https://huggingface.co/someone/weights" in out and "wrote other.saf" in out
    monkeypatch.setenv("LIFTBENCH_HOSTS", "hosts.yaml")
    host.breaks_after = 0
    code, _, err = run("fetch", "mdtf_tiny")
    assert code == 2 and len(err.splitlines()) == 1 and "Cannot download" in err


def test_nothing_is_overwritten(tmp_path, toy_file):
    convert([toy_file], tmp_path / "toy.safetensors")
    before = (tmp_path / "toy.safetensors").read_bytes()
    with pytest.raises(InputError, match="it exists. Remove it, or choose another file with --out"):
        convert([toy_file], tmp_path / "toy.safetensors")
    assert (tmp_path / "toy.safetensors").read_bytes() == before
    with pytest.raises(InputError, match="Let the name end in .safetensors"):
        convert([toy_file], tmp_path / "toy.bin")


def test_a_full_disk_leaves_nothing(tmp_path, toy_file, full_disk):
    full_disk(100_000)
    with pytest.raises(InputError, match="Cannot write .*toy.safetensors: File too large. .* free the disk"):
        convert([toy_file], tmp_path / "out" / "toy.safetensors")
    assert not list((tmp_path / "out").iterdir())


def test_inspect(tmp_path, toy_file, toy):
    rows = dict(inspect(toy_file))
    count = sum(value.numel() for value in toy.parameters())
    assert rows["format"] == "torch checkpoint" and rows["clip length T"] == str(FRAMES)
    assert rows["fits"] == f"posemamba_toy: all of its {count:,} parameters"
    assert (rows["epoch"], rows["lr"], rows["min_loss"]) == ("7", "0.0001", "41.8")

    official = save(random_model("pose3dm_s", official_depth=5), tmp_path / "pose3dm.bin")
    rows = dict(inspect(official))
    assert rows["fits"].startswith("pose3dm_s: all of its") and "3,022,002 more, which it never uses" in rows["fits"]
    refinement, bone_aware = save_stages(random_model("mdtf_large"), tmp_path)
    assert inspect(bone_aware)[2:4] == [
        ("fits", "mdtf_tiny, stage bone_aware only: all of its 110,526 parameters"),
        ("fits as well", "mdtf_large, stage bone_aware only"),
    ]
    assert "mdtf_large, stage refinement only" in dict(inspect(refinement))["fits"]
    rows = dict(inspect(save(create_model("lstm"), tmp_path / "lstm.bin")))
    assert rows["fits"].startswith("lstm:") and rows["clip length T"] == "none of the tensors depends on it"
    rows = dict(inspect(save(create_model("posemamba_s", frames=FRAMES, depth=9), tmp_path / "nine.bin")))
    assert rows["fits"] == "no registered model" and rows["nearest"].startswith("posemamba_s: ")
    assert "missing: STEblocks.9.norm.weight" in rows["nearest"]
    rows = dict(inspect(shipped("accurate")))
    assert rows["fits"] == "mlp with the numbers below: all of its 3,110,451 parameters"
    assert "'width': 768" in rows["numbers"] and "nearest" not in rows


# --- fetching -------------------------------------------------------------------------------------------------------


HOSTS = """
posemamba_toy:
  page: https://example.org/toy
  files: [{host: huggingface, repo: someone/weights, file: best_epoch.bin}]
mdtf_tiny:
  page: https://example.org/mdtf
  files: [{host: google_drive, id: abc, file: stage1.pth.tr}, {host: google_drive, id: xyz, file: stage2.pth.tr}]
lstm:
  page: https://example.org/lstm
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A fake host with `host.files` by repository or id; it interrupts a download after `host.breaks_after` bytes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts.yaml").write_text(HOSTS)

    class Host:
        files, breaks_after, sent = {}, None, []

    def download(self, path):
        content = Host.files[getattr(self, "repo", None) or self.id]
        part = path.with_name(f"{path.name}.part")
        done = part.stat().st_size if part.exists() else 0
        end = len(content) if Host.breaks_after is None else Host.breaks_after
        Host.sent.append((path.name, done, end))
        with open(part, "ab") as file:
            file.write(content[done:end])
        if Host.breaks_after is not None:
            raise ConnectionError("the line went dead")
        part.replace(path)

    monkeypatch.setattr(fetching.HuggingFaceFile, "download", download)
    monkeypatch.setattr(fetching.GoogleDriveFile, "download", download)
    Host.files, Host.sent, Host.breaks_after = {}, [], None
    return Host


def files_in(folder):
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def test_fetch(tmp_path, host, toy, toy_file):
    host.files["someone/weights"] = toy_file.read_bytes()
    path, provenance = fetching.fetch("posemamba_toy", hosts_file="hosts.yaml")
    assert_same_weights(toy, path)
    assert provenance["sources"][0]["from"] == "https://huggingface.co/someone/weights/blob/main/best_epoch.bin"
    assert provenance["sources"][0]["sha256"] == hashlib.sha256(toy_file.read_bytes()).hexdigest()
    assert files_in(tmp_path) == ["hosts.yaml", "weights/posemamba_toy.json", "weights/posemamba_toy.safetensors"]
    assert [folder.name for folder in (tmp_path / "weights").iterdir() if folder.is_dir()] == []


def test_fetch_of_two_stages_goes_on_where_it_stopped(tmp_path, host):
    model = random_model("mdtf_tiny")
    refinement, bone_aware = save_stages(model, tmp_path)
    host.files = {"abc": bone_aware.read_bytes()}
    with pytest.raises(InputError, match="Cannot download https://drive.google.com/file/d/xyz"):
        fetching.fetch("mdtf_tiny", hosts_file="hosts.yaml")
    host.files["xyz"], host.breaks_after = refinement.read_bytes(), 1000
    with pytest.raises(InputError, match=": the line went dead. Check the network and run the same command again"):
        fetching.fetch("mdtf_tiny", hosts_file="hosts.yaml")
    host.breaks_after = None
    path, _ = fetching.fetch("mdtf_tiny", hosts_file="hosts.yaml")
    assert host.sent == [
        ("stage1.pth.tr", 0, len(host.files["abc"])),
        ("stage2.pth.tr", 0, 1000),
        ("stage2.pth.tr", 1000, len(host.files["xyz"])),
    ]
    assert_same_weights(model, path, "mdtf_tiny")
    assert sorted(file.name for file in (tmp_path / "weights").iterdir()) == ["mdtf_tiny.json", "mdtf_tiny.safetensors"]


def test_without_a_network_nothing_is_left_behind(tmp_path, host):
    host.breaks_after = 0
    host.files["someone/weights"] = b"never sent"
    with pytest.raises(InputError) as caught:
        fetching.fetch("posemamba_toy", hosts_file="hosts.yaml")
    assert str(caught.value) == (
        "Cannot download https://huggingface.co/someone/weights/blob/main/best_epoch.bin: the line went dead. Check "
        "the network and run the same command again, or get the file from https://example.org/toy and run "
        "`liftbench weights convert FILE`."
    )
    assert [file.name for file in tmp_path.iterdir()] == ["hosts.yaml"]


@pytest.mark.parametrize("kind", ["variant", "page", "hostile", "truncated"])
def test_a_wrong_file_is_not_taken(tmp_path, host, toy_file, kind):
    file = tmp_path.parent / f"{tmp_path.name}.bin"
    if kind == "variant":
        save(random_model("posemamba_s"), file)
    elif kind == "page":
        file.write_text("<html>Too many users have viewed or downloaded this file recently.</html>")
    elif kind == "hostile":
        torch.save({"model_pos": Hostile()}, file)
    else:
        file.write_bytes(toy_file.read_bytes()[:-5000])
    host.files["someone/weights"] = file.read_bytes()
    with pytest.raises(InputError, match="Cannot use what https://example.org/toy offers as posemamba_toy: "):
        fetching.fetch("posemamba_toy", hosts_file="hosts.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["hosts.yaml"]


def test_what_is_not_published(host):
    with pytest.raises(InputError, match="no checkpoint of it is known to be published on https://example.org/lstm"):
        fetching.fetch("lstm", hosts_file="hosts.yaml")
    with pytest.raises(InputError, match="Cannot fetch mlp: no checkpoint of it .*, only of posemamba_s, .*convert"):
        fetching.fetch("mlp")
    with pytest.raises(InputError, match="Cannot find the model 'posemamba'"):
        fetching.fetch("posemamba")
    assert host.sent == []


def test_the_list_of_hosts(tmp_path):
    known = fetching.hosts()
    assert set(known) <= set(list_models())
    for name, hosted in known.items():
        assert len(hosted.files) in (0, len(entry(name).stages) or 1), name
    path = tmp_path / "hosts.yaml"
    for text, pattern in (
        (
            "posemamba_s: {page: a, files: [{host: ftp, file: a}]}",
            "posemamba_s.files.0: .*Write it as baselines/weights/checkpoints.yaml",
        ),
        ("posemamba_s: {page: a, files: [{host: " + 999 * "x" + "}]}", r"files.0: 'x{50,120}\.\.\.\. Write it"),
        ("posemamba_s: {pages: a}", "posemamba_s.page: it is missing"),
        ("[", "Cannot read the list of checkpoints"),
        ("", "holds no 'key: value' lines"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=pattern):
            fetching.hosts(path)
    with pytest.raises(InputError, match="Cannot read the list"):
        fetching.hosts(tmp_path / "missing.yaml")


@pytest.fixture
def server(monkeypatch):
    """A web server that serves `server.content` as Hugging Face and Google Drive do, ranges included."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self, body=False):
            content = self.server.content
            start = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
            self.server.asked.append((self.command, start))
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Disposition", 'attachment; filename="best_epoch.bin"')
            self.send_header("ETag", f'"{self.server.etag}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            if body:
                self.wfile.write(content[start:])

        def do_GET(self):
            self.do_HEAD(body=True)

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.url = [], f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_hugging_face_resumes_and_verifies(tmp_path, server, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda repo, file: f"{server.url}{repo}/resolve/main/{file}")
    server.content = os.urandom(100_000)
    server.etag = hashlib.sha256(server.content).hexdigest()
    file = fetching.HuggingFaceFile(host="huggingface", repo="someone/weights", file="best_epoch.bin")
    (tmp_path / f"a.bin.{server.etag[:16]}.part").write_bytes(server.content[:60_000])
    file.download(tmp_path / "a.bin")
    assert server.asked[-1] == ("GET", 60_000)
    assert (tmp_path / "a.bin").read_bytes() == server.content

    server.etag = "0" * 64
    with pytest.raises(InputError, match="arrived damaged. Run the same command again"):
        file.download(tmp_path / "b.bin")
    assert files_in(tmp_path) == ["a.bin"]


def test_google_drive_resumes(tmp_path, server, monkeypatch):
    import requests

    get = requests.Session.get
    monkeypatch.setattr(requests.Session, "get", lambda self, url, **options: get(self, server.url, **options))
    server.content, server.etag = os.urandom(100_000), "1"
    (tmp_path / "a.bin12345678.part").write_bytes(server.content[:60_000])  # as gdown names them
    fetching.GoogleDriveFile(host="google_drive", id="abc", file="a.bin").download(tmp_path / "a.bin")
    assert server.asked[-1] == ("GET", 60_000)
    assert (tmp_path / "a.bin").read_bytes() == server.content and files_in(tmp_path) == ["a.bin"]
