"""``fcnrt convolutionalize``: an ImageNet classifier to an FCN checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import fcnrt
from fcnrt.checkpoints import write_safetensors
from fcnrt.cli.exit_codes import DONE
from fcnrt.cli.model_options import class_names
from fcnrt.cli.output_file import check_output
from fcnrt.models import ARCHITECTURES
from fcnrt.preprocessing import PRESETS


def add_parser(verbs: Any) -> None:
    """Add this verb to the subparsers ``verbs``."""
    parser = verbs.add_parser(
        "convolutionalize",
        help="make an FCN of an ImageNet classifier",
        description="Turn the fully connected layers of VGG16, VGG16-bn, AlexNet, GoogLeNet or ResNet (torchvision's "
        "keys) into convolutions, add score layers and bilinear upsampling, and write the net as safetensors: the "
        "start of training, as in the paper's section 3.1.",
    )
    parser.add_argument("classifier", metavar="FILE", help="its checkpoint, or the name of a published one, as vgg16")
    parser.add_argument("--arch", required=True, choices=list(ARCHITECTURES), metavar="ARCH", help="such as fcn8s")
    parser.add_argument(
        "--classes",
        required=True,
        metavar="N|NAME,NAME,...",
        help="how many classes, or their names, background first",
    )
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="OUT.safetensors")
    parser.add_argument(
        "--keep-scores", action="store_true", help="score with the classifier's own last layer instead of zeros"
    )
    parser.add_argument("--pad", type=int, metavar="PIXELS", help="zeros around the image (default: the net's own)")
    parser.add_argument("--normalization", choices=list(PRESETS), help="what the weights want (default: torchvision's)")
    parser.add_argument("--force", action="store_true", help="replace OUT.safetensors if it exists")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convolutionalize the classifier that the command line names."""
    check_output(arguments.out, force=arguments.force)
    names = None if arguments.classes.isdigit() else class_names(arguments.classes)
    count = int(arguments.classes) if names is None else len(names)
    model = fcnrt.convolutionalize(
        arguments.classifier,
        arguments.arch,
        count,
        keep_scores=arguments.keep_scores,
        pad=arguments.pad,
        classes=names,
        normalization=arguments.normalization,
        device="cpu",
        dtype="float32",
    )
    write_safetensors(arguments.out, model.spec, model.reference.state_dict())
    print(f"{arguments.classifier} -> {arguments.out}: {model.spec.arch}, {count} classes")
    return DONE
