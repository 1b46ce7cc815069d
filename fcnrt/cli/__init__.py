"""The command line: one file per verb. Data goes to stdout, everything said about it to stderr."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence

import fcnrt
from fcnrt.cli import bench, convert, convolutionalize, doctor, info, pull, segment, tune
from fcnrt.cli.exit_codes import INTERNAL_ERROR, INTERRUPTED, NO_MODEL, USAGE
from fcnrt.errors import CheckpointError, DeviceError, DownloadError, FcnrtError

VERBS = (segment, info, convert, convolutionalize, pull, bench, tune, doctor)

EXAMPLES = """\
examples:
  fcnrt segment street.jpg --out labels              the demo net, on one photo
  fcnrt segment photos/ --model fcn8s.pt --out labels --json
  fcnrt info fcn8s.pt                                what a checkpoint holds, and how that is known
  fcnrt convert fcn8s.pt fcn8s.safetensors           the same net, with nothing left to guess
  fcnrt convolutionalize vgg16.pth --arch fcn8s --classes 21 -o fcn8s.safetensors
  fcnrt pull fcn_resnet50_coco                       a published checkpoint, fetched once and checked
  fcnrt bench fcn8s.pt --size 375x500                how fast it is here, and how exact
  fcnrt tune fcn8s.pt --size 500x500                 on a GPU: the fastest tiles for this model and size
  fcnrt doctor                                       what this machine can do

exit codes:
  0 done, 1 internal error, 2 wrong usage, 3 some images failed (the rest are written),
  4 the model could not be loaded, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fcnrt`` with ``argv`` (the process's own arguments if None) and return its exit code."""
    logging.basicConfig(format="fcnrt: %(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.addLevelName(logging.WARNING, "warning")
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except (CheckpointError, DeviceError, DownloadError) as error:
        print(f"fcnrt: error: {error}", file=sys.stderr)
        return NO_MODEL
    except FcnrtError as error:
        print(f"fcnrt: error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("fcnrt: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough. Python must not try to flush to it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        traceback.print_exc()
        print(
            "fcnrt: internal error (above); please report it with the output of `fcnrt doctor`",
            file=sys.stderr,
        )
        return INTERNAL_ERROR


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="fcnrt",
        description="Label every pixel of a photo with a Fully Convolutional Network.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fcnrt {fcnrt.__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser
