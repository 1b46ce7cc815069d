"""``make demo``: the sample images through the demo net, and the demo net as a pytorch-fcn checkpoint."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import fcnrt
from fcnrt.checkpoints import read_checkpoint, write_pytorch_fcn
from fcnrt.cli.segment import plan_jobs, report_failure, segment_files
from fcnrt.demo import demo_checkpoint, sample_images

OUT = Path("demo")
CHECKPOINT = Path("fcn8s.pt")


def main() -> int:
    """Write ``demo/`` and ``fcn8s.pt`` into the current folder; a line of JSON per image on stdout."""
    write_pytorch_fcn(CHECKPOINT, read_checkpoint(demo_checkpoint()).state_dict)
    model = fcnrt.load(demo_checkpoint())
    failed = 0
    for _, record in segment_files(model, plan_jobs(sample_images(), OUT)):
        failed += "error" in record
        if "error" in record:
            report_failure(record["error"])
        print(json.dumps(record), flush=True)
    print(
        f"\nlabel maps     {OUT}/NAME.png\noverlays       {OUT}/NAME.overlay.png\n"
        f"checkpoint     {CHECKPOINT}, the demo net in pytorch-fcn's layout\n"
        f"sample images  {sample_images()[0].parent}\n"
        f'next           python -c \'import fcnrt; print(fcnrt.load("{CHECKPOINT}").segment("PHOTO.jpg"))\'',
        file=sys.stderr,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
