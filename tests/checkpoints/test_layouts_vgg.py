"""Files as programs with VGG trunks write them: names by hand, as their source has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fcnrt.checkpoints import Checkpoint, read_checkpoint
from fcnrt.errors import CheckpointError, InputError
from fcnrt.models import create_model

StateDict = dict[str, Tensor]
Weights = Callable[..., StateDict]

CANONICAL = (
    *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"),
    *("conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3", "fc6", "fc7", "score_fr"),
)

FEATURES = " ".join(f"features.{index}" for index in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
LAYERS: Mapping[str, str] = {
    "early": f"{FEATURES} classifier.0 classifier.3 classifier.6",
    "february": f"{FEATURES} segmenter.0 segmenter.3 segmenter.6",
    "first": "segmenter.0 segmenter.2 segmenter.5 segmenter.7 segmenter.10 segmenter.12 segmenter.14 segmenter.17 "
    "segmenter.19 segmenter.21 segmenter.24 segmenter.26 segmenter.28 segmenter.31 segmenter.34 segmenter.37",
    "ptsemseg": "conv_block1.0 conv_block1.2 conv_block2.0 conv_block2.2 conv_block3.0 conv_block3.2 conv_block3.4 "
    "conv_block4.0 conv_block4.2 conv_block4.4 conv_block5.0 conv_block5.2 conv_block5.4 "
    "classifier.0 classifier.3 classifier.6",
    "zijundeng 8s": "features3.0 features3.2 features3.5 features3.7 features3.10 features3.12 features3.14 "
    "features4.0 features4.2 features4.4 features5.0 features5.2 features5.4 score_fr.0 score_fr.3 score_fr.6",
    "zijundeng 16s": "features4.0 features4.2 features4.5 features4.7 features4.10 features4.12 features4.14 "
    "features4.17 features4.19 features4.21 features5.0 features5.2 features5.4 score_fr.0 score_fr.3 score_fr.6",
    "zijundeng 32s": FEATURES.replace("features", "features5") + " score_fr.0 score_fr.3 score_fr.6",
    "yassouali": "pool3.0 pool3.2 pool3.5 pool3.7 pool3.10 pool3.12 pool3.14 pool4.0 pool4.2 pool4.4 "
    "pool5.0 pool5.2 pool5.4 output.0 output.3 output.6",
    "bn": "features3.0 features3.3 features3.7 features3.10 features3.14 features3.17 features3.20 "
    "features4.0 features4.3 features4.6 features5.0 features5.3 features5.6 score_fr.0 score_fr.3 score_fr.6",
}
"""What CANONICAL is called."""

YASSOUALI = {
    "score_pool3": "adj_pool3",
    "score_pool4": "adj_pool4",
    "upscore2": "up_output",
    "upscore_pool4": "up_pool4_out",
    "upscore8": "up_final",
}


def published(state: StateDict, layers: str, others: Mapping[str, str] | None = None) -> StateDict:
    """A canonical state dict under a program's names."""
    names = dict(zip(CANONICAL, LAYERS[layers].split(), strict=True)) | dict(others or {})
    renamed = {}
    for key, tensor in state.items():
        module, _, leaf = key.rpartition(".")
        renamed[f"{names.get(module, module)}.{leaf}"] = tensor
    return renamed


def read(state: Any, path: Path, **arguments: Any) -> Checkpoint:
    torch.save(state, path)
    return read_checkpoint(path, **arguments)


def assert_same(found: StateDict, expected: StateDict) -> None:
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("layers", "arch", "others", "layout", "normalization"),
    [
        ("early", "fcn32s", {"upscore": "upscore"}, "pytorch-fcn (early 2017)", "caffe-voc"),
        ("early", "fcn32s", {"upscore": "upscore.0"}, "pytorch-fcn (early 2017)", "caffe-voc"),
        ("february", "fcn32s", {"upscore": "segmenter.7"}, "pytorch-fcn (early 2017)", "caffe-voc"),
        ("first", "fcn32s", {"upscore": "segmenter.38"}, "pytorch-fcn (early 2017)", "caffe-voc"),
        ("ptsemseg", "fcn8s", {"upscore_pool4": "upscore4"}, "ptsemseg", "imagenet"),
        ("ptsemseg", "ptsemseg-fcn8s", {}, "ptsemseg", "imagenet"),
        ("ptsemseg", "ptsemseg-fcn16s", {}, "ptsemseg", "imagenet"),
        ("ptsemseg", "ptsemseg-fcn32s", {}, "ptsemseg", "imagenet"),
        ("zijundeng 8s", "fcn8s-atonce", {}, "zijundeng", "imagenet"),
        ("zijundeng 16s", "zijundeng-fcn16s", {}, "zijundeng", "caffe-vgg"),
        ("zijundeng 32s", "fcn32s", {}, "zijundeng", "caffe-vgg"),
        ("yassouali", "fcn8s-atonce", YASSOUALI, "yassouali", "yassouali-voc"),
    ],
)
def test_trunks_in_sequentials(
    weights: Weights,
    tmp_path: Path,
    layers: str,
    arch: str,
    others: Mapping[str, str],
    layout: str,
    normalization: str,
) -> None:
    state = weights(arch)
    checkpoint = read(published(state, layers, others), tmp_path / "model.pth")
    assert_same(checkpoint.state_dict, state)
    assert (checkpoint.layout, checkpoint.spec.arch, checkpoint.spec.num_classes) == (layout, arch, 3)
    assert (checkpoint.spec.width, checkpoint.spec.normalization.name) == (1 / 64, normalization)
    assert checkpoint.spec.sources["arch"] == checkpoint.spec.sources["width"] == "tensor shapes"


def test_pytorch_fcn_names(weights: Weights, tmp_path: Path) -> None:
    """The canonical names are those of torchfcn/models/fcn8s.py, letter by letter."""
    assert {"conv1_1.weight", "fc6.bias", "score_pool3.weight", "upscore_pool4.weight"} < weights("fcn8s").keys()


@pytest.mark.parametrize("name", ["model", "fcn8s-atonce_from_caffe"])
def test_chainer(weights: Weights, tmp_path: Path, name: str) -> None:
    """What chainer.serializers.save_npz writes, compressed as it does."""
    state = weights("fcn8s")
    entries: dict[str, Any] = {
        key.replace(".weight", "/W").replace(".bias", "/b"): tensor.numpy() for key, tensor in state.items()
    }
    assert {"conv1_1/W", "score_fr/b", "upscore8/W"} < entries.keys()
    np.savez_compressed(tmp_path / f"{name}.npz", **entries)
    checkpoint = read_checkpoint(tmp_path / f"{name}.npz")
    assert_same(checkpoint.state_dict, state)
    assert (checkpoint.container, checkpoint.layout) == ("npz", "chainer fcn")
    assert checkpoint.spec.arch == ("fcn8s" if name == "model" else "fcn8s-atonce")
    np.savez(
        tmp_path / "snapshot.npz", **{f"updater/model:main/predictor/{key}": value for key, value in entries.items()}
    )
    checkpoint = read_checkpoint(tmp_path / "snapshot.npz", arch="fcn8s")
    assert_same(checkpoint.state_dict, state)
    assert checkpoint.wrapping == ("updater/model:main/predictor/",)


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (
            {"upscore8/b": np.array([0, 0, 1e-3], np.float32)},
            "'upscore8', was trained away from zero; expected none there",
        ),
        ({"upscore2/b": np.zeros(4, np.float32)}, r"'upscore2.bias' has shape \(4,\); expected \(3,\)"),
        ({"upscore16/b": np.zeros(3, np.float32)}, r"1 unexpected \('upscore16.bias'\)"),
    ],
)
def test_chainer_with_biases_that_no_net_has(
    weights: Weights, tmp_path: Path, bias: dict[str, Any], message: str
) -> None:
    entries: dict[str, Any] = {
        key.replace(".weight", "/W").replace(".bias", "/b"): tensor.numpy() for key, tensor in weights("fcn8s").items()
    }
    np.savez(tmp_path / "fcn8s.npz", **entries, **bias)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "fcn8s.npz")


@pytest.mark.parametrize(
    ("arguments", "name", "rule", "source"),
    [
        ({}, "fcn8s_pascal_best_model.pkl", "align_corners", "default"),
        ({"options": {"rule": "nearest"}}, "fcn8s_pascal_best_model.pkl", "nearest", "argument"),
    ],
)
def test_ptsemseg_without_deconvolutions(
    weights: Weights, tmp_path: Path, arguments: Any, name: str, rule: str, source: str
) -> None:
    state = {f"module.{key}": value for key, value in published(weights("ptsemseg-fcn8s"), "ptsemseg").items()}
    payload = {"epoch": 5, "model_state": state, "best_iou": np.float64(0.6), "optimizer_state": {}}
    checkpoint = read(payload, tmp_path / name, **arguments)
    assert checkpoint.wrapping == ("model_state", "module.")
    assert (checkpoint.spec.options["rule"], checkpoint.spec.sources["rule"]) == (rule, source)
    assert checkpoint.spec.sources["normalization"] == "file name"
    assert len(checkpoint.notes) == (source == "default")


@pytest.mark.parametrize(
    ("name", "config", "normalization", "source"),
    [
        ("best_model.pth", {"train_loader": {"type": "CityScapes"}}, "yassouali-cityscapes", "file metadata"),
        ("FCN8_ade20k.pth", {"train_loader": {"type": "Mine"}}, "yassouali-ade20k", "file name"),
        ("best_model.pth", {}, "yassouali-voc", "default"),
    ],
)
def test_yassouali_trainer(
    weights: Weights, tmp_path: Path, name: str, config: dict[str, Any], normalization: str, source: str
) -> None:
    state = published(weights("fcn8s-atonce"), "yassouali", YASSOUALI)
    payload = {
        "arch": "DataParallel",
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "monitor_best": np.float64(0.5),
        "config": {"name": "FCN", "arch": {"type": "FCN8", "args": {}}, **config},
    }
    spec = read(payload, tmp_path / name).spec
    assert (spec.normalization.name, spec.sources["normalization"]) == (normalization, source)


def test_batch_norm_of_vgg16_bn_is_folded(weights: Weights, tmp_path: Path) -> None:
    """Against the net that is not folded, in float64."""
    arch, generator = "fcn8s-atonce", torch.Generator().manual_seed(1)
    net = create_model(arch, 3, width=1 / 32).double().eval().requires_grad_(False)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.weight[0].numel()
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    plain = published(state, "bn")
    for name, convolution in zip(CANONICAL[:13], LAYERS["bn"].split(), strict=False):
        module, _, index = convolution.rpartition(".")
        channels = net.get_submodule(name).out_channels
        norm = nn.BatchNorm2d(int(channels)).double().eval().requires_grad_(False)  # type: ignore[arg-type]
        for leaf in ("weight", "running_var"):
            getattr(norm, leaf).copy_(torch.rand(norm.num_features, generator=generator) + 0.5)
        for leaf in ("bias", "running_mean"):
            getattr(norm, leaf).copy_(torch.randn(norm.num_features, generator=generator))
        net.set_submodule(name, nn.Sequential(net.get_submodule(name), norm))
        plain |= {f"{module}.{int(index) + 1}.{key}": value.clone() for key, value in norm.state_dict().items()}
    checkpoint = read(plain, tmp_path / "bn.pth")
    folded = create_model(arch, 3, width=1 / 32).eval().requires_grad_(False)
    folded.load_state_dict(checkpoint.state_dict)
    x = torch.randn(1, 3, 33, 21, generator=generator)
    expected = net(x.double())
    assert (folded.double()(x.double()) - expected).abs().max() < 1e-6 * expected.abs().max()


@pytest.mark.parametrize("trunk", ["pretrained", "features"])
@pytest.mark.parametrize("stride", [32, 16, 8])
def test_tramac(weights: Weights, tmp_path: Path, trunk: str, stride: int) -> None:
    """With the trunk a second time, as torch.save writes shared modules, and the auxiliary head."""
    state = weights(f"tramac-fcn{stride}s")
    assert {"pretrained.28.weight", "head.block.1.running_mean", "head.block.4.bias"} < state.keys()
    saved = {key.replace("pretrained.", f"{trunk}."): value for key, value in state.items()}
    if stride == 8:
        for first, last, name in ((0, 17, "pool3"), (17, 24, "pool4"), (24, 31, "pool5")):
            for key in [key for key in saved if key.startswith(trunk)]:
                _, index, leaf = key.split(".")
                if first <= int(index) < last:
                    saved[f"{name}.{int(index) - first}.{leaf}"] = saved[key]
    saved |= {"auxlayer.block.0.weight": torch.zeros(2, 8, 3, 3), "head.block.1.num_batches_tracked": torch.tensor(3)}
    checkpoint = read(saved, tmp_path / f"fcn{stride}s_vgg16_pascal_voc.pth")
    assert_same(checkpoint.state_dict, state)
    assert (checkpoint.layout, checkpoint.spec.arch) == ("Tramac", f"tramac-fcn{stride}s")
    assert checkpoint.notes == ("left out: 1 tensor of an auxiliary head, which only training reads",)


@pytest.mark.parametrize("trunk", ["vgg11", "vgg13", "vgg16", "vgg19"])
@pytest.mark.parametrize(
    ("name", "arch", "source"),
    [
        ("FCNs-BCEWithLogits_batch6", "pochih-fcns", "default"),
        ("FCN16s-BCEWithLogits_batch6", "pochih-fcn16s", "file name"),
    ],
)
def test_pochih(weights: Weights, tmp_path: Path, trunk: str, name: str, arch: str, source: str) -> None:
    state = weights("pochih-fcns", trunk=trunk)
    assert {"pretrained_net.features.0.weight", "deconv1.bias", "bn5.running_var", "classifier.bias"} < state.keys()
    spec = read(state, tmp_path / name).spec
    assert (spec.arch, spec.sources["arch"], spec.options["trunk"]) == (arch, source, trunk)
    assert spec.normalization.name == "pochih"


def test_trunks_that_are_not_vgg16(weights: Weights, tmp_path: Path) -> None:
    state = published(weights("fcn8s-atonce"), "zijundeng 8s")
    path = tmp_path / "model.pth"
    with pytest.raises(CheckpointError, match="14 convolutions in features3 and features4 and features5; expected 13"):
        read(state | {"features5.6.weight": torch.zeros(8, 8, 3, 3)}, path)
    with pytest.raises(CheckpointError, match=r"'features4\.9.weight' is neither a convolution nor a batch norm"):
        read(state | {"features4.9.weight": torch.zeros(8)}, path)
    with pytest.raises(CheckpointError, match=r"'conv1_1\.bn\.bias' is missing"):
        read(state | {f"features3.1.{leaf}": torch.ones(1) for leaf in ("running_mean", "running_var", "weight")}, path)
    norm = {f"features3.1.{leaf}": torch.ones(5) for leaf in ("running_mean", "running_var", "weight", "bias")}
    with pytest.raises(
        CheckpointError, match=r"'conv1_1.bn.running_mean' has shape \(5,\); expected \(1,\), as its conv"
    ):
        read(state | norm, path)


def test_options_are_checked(weights: Weights, tmp_path: Path) -> None:
    state = published(weights("ptsemseg-fcn32s"), "ptsemseg")
    with pytest.raises(InputError, match="ptsemseg-fcn32s has no option align_corners; its options are width, rule"):
        read(state, tmp_path / "a.pth", options={"align_corners": True})
    with pytest.raises(InputError, match="unknown rule 'cubic'"):
        read(state, tmp_path / "a.pth", options={"rule": "cubic"})
    with pytest.raises(InputError, match="option rule of ptsemseg-fcn32s is 3; expected a value like"):
        read(state, tmp_path / "a.pth", options={"rule": 3})
    spec = read(state, tmp_path / "a.pth", options={"width": 1 / 64}).spec
    assert (spec.width, spec.sources["width"]) == (1 / 64, "argument")
