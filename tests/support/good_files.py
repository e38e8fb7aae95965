"""A small good file of every format that liftbench reads, for the fuzzer to damage."""

import csv
import io
import json
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml

from liftbench.baselines.data.cameras import load_cameras, project_to_2d, world_to_camera
from liftbench.baselines.data.dataset import open_dataset
from liftbench.baselines.data.formats.videopose3d import DETECTIONS
from liftbench.baselines.data.formats.videopose3d_schema import KEPT_JOINTS
from liftbench.baselines.skeleton import LEFT, RIGHT
from liftbench.baselines.synthetic import mocap
from liftbench.baselines.synthetic.actions import act
from liftbench.baselines.synthetic.body import make_body
from liftbench.baselines.training.recipe import read_recipe
from liftbench.baselines.weights.fetch import hosts
from liftbench.baselines.weights.load import load_weights
from liftbench.bench import records
from liftbench.bench.report.results import Results
from liftbench.lift.keypoints.read import read_keypoints
from support import PUBLISHED
from support.records import accuracy, cost, speed, training


@dataclass(frozen=True)
class Good:
    """A file that `read(folder)` accepts. It is `folder / name` and holds `encode(content)`.

    arrays: whether its content may hold arrays; beside: the other files of the folder; zipped: a zip archive.
    """

    name: str
    content: Any
    encode: Callable[[Any], bytes]
    read: Callable[[Path], Any]
    arrays: bool = False
    zipped: bool = False
    beside: dict[str, bytes] = field(default_factory=dict)

    def write(self, folder: Path, data: bytes) -> None:
        for name, content in (self.beside | {self.name: data}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def good_files() -> dict[str, Good]:
    """All formats, by name."""
    return {**_data_sets(), **_weights(), **_texts(), **_keypoints()}


def _npz(members):
    """Encode an .npz file; values that are not arrays are pickled, as the official scripts do."""
    file = io.BytesIO()
    np.savez(
        file,
        **{str(name): value if isinstance(value, np.ndarray) else _boxed(value) for name, value in members.items()},
    )
    return file.getvalue()


def _json(content):
    return json.dumps(content).encode()


def _yaml(content):
    return yaml.safe_dump(content).encode()


def _torch(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _old_torch(content):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _table(rows):
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


def _walk(subject, frames=40):
    body = make_body(np.random.default_rng(subject))
    return (act(14, body, frames, np.random.default_rng(subject)) / 1000).astype(np.float32)


def _motion():
    return {
        "positions": np.concatenate([_walk(0), _walk(1)]), "offsets": np.arange(3) * 40,
        "subject": np.array(["ann", "bob"]), "action": np.array(["walk", "walk"]), "fps": np.array(50),
        "credit": np.array("nobody"),
    }  # fmt: skip


def _data_sets():
    draw = np.random.default_rng(0)

    def studio():
        legs = np.zeros((17, 3))
        legs[[9, 12], 1], legs[[10, 13], 1] = 400, 800
        return {
            "data_2d": draw.uniform(0, 1000, (4, 17, 2)).astype(np.float32),
            "data_3d": (legs + draw.normal(size=(4, 1, 3))).astype(np.float32),
        }

    train = {"data": np.array({"S1 Seq1": [{"0": studio(), "8": studio()}, 25]})}
    test = {"data": np.array({f"TS{n}": studio() | {"valid": np.array([1.0, 0, 1, 1])} for n in range(1, 7)})}
    people, views = {}, {}
    for subject in ("S1", "S5", "S6", "S7", "S8", "S9", "S11"):
        world = (draw.normal(size=(6, 32, 3)) * 0.3 + [0, 0, 1]).astype(np.float32)
        people[subject] = {"Directions": world}
        views[subject] = {
            "Directions": [
                project_to_2d(world_to_camera(1000.0 * world[:, KEPT_JOINTS], camera), camera).astype(np.float32)
                for camera in load_cameras(int(subject[1:]))
            ]
        }
    metadata = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": [list(LEFT), list(RIGHT)]}
    motion_2d = {"positions_2d": views, "metadata": metadata}
    motion_3d = {"positions_3d": people}
    return {
        "motionbert": Good("a.pkl", _motionbert(), pickle.dumps, lambda f: open_dataset(f / "a.pkl"), arrays=True),
        "videopose3d_3d": _archive("data_3d_h36m.npz", motion_3d, {DETECTIONS["cpn"]: _npz(motion_2d)}),
        "videopose3d_2d": _archive(DETECTIONS["cpn"], motion_2d, {"data_3d_h36m.npz": _npz(motion_3d)}),
        "mpi_inf_3dhp_train": _archive("data_train_3dhp.npz", _plain(train), {"data_test_3dhp.npz": _npz(test)}),
        "mpi_inf_3dhp_test": _archive("data_test_3dhp.npz", _plain(test), {"data_train_3dhp.npz": _npz(train)}),
        "mocap": Good(
            "m.npz", _motion(), _npz, lambda f: mocap.convert(f / "m.npz", f / "out.pkl"), arrays=True, zipped=True
        ),
    }  # fmt: skip


def _plain(members):
    return {name: value.item() for name, value in members.items()}


def _boxed(value):
    box = np.empty((), object)
    box[()] = value
    return box


def _archive(name, members, beside):
    return Good(name, members, _npz, open_dataset, arrays=True, zipped=True, beside=beside)


def _motionbert():
    """A few frames of two takes in each split, made from motion capture."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "m.npz").write_bytes(_npz(_motion()))
        content = pickle.loads(mocap.convert(Path(folder) / "m.npz", Path(folder) / "out.pkl").read_bytes())
    for split in ("train", "test"):
        content[split] = {name: values[::8] for name, values in content[split].items()}
    return content


def _load(name):
    return lambda folder: load_weights(torch.nn.Linear(4, 3), folder / name)


def _weights():
    state = {"weight": torch.ones(3, 4), "bias": torch.zeros(3)}
    wrapped = {f"module.{key}": value for key, value in state.items()}
    checkpoint = {"model_pos": wrapped, "epoch": 3, "lr": 0.1, "min_loss": np.float64(40.5), "optimizer": {"state": {}}}
    raw = safetensors.torch.save(state, {"model": '"mlp"', "frames": "27", "numbers": "{}", "epoch": "3"})
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    values = raw[8 + int.from_bytes(raw[:8], "little") :]

    def safe(header):
        text = _json(header)
        return len(text).to_bytes(8, "little") + text + values

    return {
        "safetensors": Good("w.safetensors", header, safe, _load("w.safetensors")),
        "torch": Good("w.bin", checkpoint, _torch, _load("w.bin"), arrays=True, zipped=True),
        "torch_before_1.6": Good("w.pth", checkpoint, _old_torch, _load("w.pth"), arrays=True),
        "torch_unpacked": Good(
            "w/archive/data.pkl", checkpoint, lambda content: _unpacked(content)["w/archive/data.pkl"], _load("w"),
            arrays=True, beside=_unpacked(checkpoint),
        ),
    }  # fmt: skip


def _unpacked(content):
    """The files of a checkpoint that was unpacked into the folder w."""
    with zipfile.ZipFile(io.BytesIO(_torch(content))) as archive:
        return {f"w/{name}": archive.read(name) for name in archive.namelist()}


def _texts():
    recipe = {
        "model": "mlp", "frames": 27, "stride": 20, "loss": {"mpjpe": 1.0}, "learning_rate": 0.001,
        "learning_rate_decay": 0.99, "epochs": 2, "batch_size": 128, "numbers": {"hidden": 64}, "seed": 1,
    }  # fmt: skip
    hosted = {
        "mlp": {
            "page": "https://example.org", "files": [{"host": "huggingface", "repo": "a/b", "file": "c.bin"}]
        },
        "lstm": {"page": "https://example.org", "files": [{"host": "google_drive", "id": "1", "file": "d.bin"}]},
    }  # fmt: skip
    measured = [kind("mlp", frames=27) for kind in (cost, speed, accuracy, training)]
    rows = [json.loads(record.model_dump_json(by_alias=True)) for record in measured]
    published = list(csv.reader(io.StringIO(PUBLISHED.read_text())))[:6]
    based = {"base": "b.yaml", "epochs": 3}

    def read(folder):
        return read_recipe(folder / "r.yaml")

    return {
        "recipe": Good("r.yaml", recipe, _yaml, read),
        "recipe_base": Good("r.yaml", based, _yaml, read, beside={"b.yaml": _yaml(recipe)}),
        "hosts": Good("h.yaml", hosted, _yaml, lambda f: hosts(f / "h.yaml")),
        "records": Good("r.jsonl", rows, _lines, records.read),
        "published": Good("p.csv", published, _table, lambda f: Results([], f / "p.csv")),
    }  # fmt: skip


def _keypoints():
    draw = np.random.default_rng(0)

    def people(points, frames=3):
        places = draw.uniform(10, 470, (frames, points, 2)).round(2)
        return np.concatenate([places, draw.uniform(0.4, 1, (frames, points, 1)).round(3)], axis=-1)

    frame = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": people(18, 1).ravel().tolist()}]}
    other = {"walk_000000000001_keypoints.json": _json(frame)}
    entries = [
        {"image_id": f"{number}.jpg", "keypoints": person.ravel().tolist(), "score": 2.5, "category_id": 1, "idx": 1}
        for number, person in enumerate(people(17))
    ]
    coco = [entry | {"image_id": number} for number, entry in enumerate(entries)]
    instances = [
        {"frame_id": number, "instances": [{"keypoints": one[:, :2].tolist(), "keypoint_scores": one[:, 2].tolist()}]}
        for number, one in enumerate(people(17))
    ]
    parts = [
        f"{side}_{joint}" for side in ("left", "right")
        for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    ] + ["nose"]  # fmt: skip
    table = [
        ["scorer", *["net"] * 3 * len(parts)], ["bodyparts", *[part for part in parts for _ in "xyl"]],
        ["coords", *["x", "y", "likelihood"] * len(parts)],
        *([number, *person.ravel().tolist()] for number, person in enumerate(people(len(parts)))),
    ]  # fmt: skip
    sleap = [
        ["track", "frame_idx", "instance.score", *[f"{part}.{axis}" for part in parts for axis in ("x", "y", "score")]],
        *(["", number, 0.9, *person.ravel().tolist()] for number, person in enumerate(people(len(parts)))),
    ]
    arrays = {"keypoints": people(17), "fps": np.array(50.0), "image_size": np.array([640, 480])}

    def keypoints(name, content, encode, **more):
        layout = more.pop("layout", "auto")
        return Good(name, content, encode, lambda folder: read_keypoints(folder / name, layout), **more)

    return {
        "openpose": Good(
            "walk_000000000000_keypoints.json", frame, _json, lambda folder: read_keypoints(folder), beside=other
        ),
        "alphapose": keypoints("a.json", entries, _json, layout="coco17"),
        "coco": keypoints("c.json", coco, _json),
        "mmpose": keypoints("m.json", {"meta_info": {}, "instance_info": instances}, _json),
        "deeplabcut": keypoints("d.csv", table, _table),
        "sleap": keypoints("s.csv", sleap, _table),
        "keypoints_npz": keypoints("k.npz", arrays, _npz, layout="coco17", arrays=True, zipped=True),
    }  # fmt: skip
