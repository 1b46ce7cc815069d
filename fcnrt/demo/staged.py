"""The paper's staged training (section 4.2): FCN-32s, then FCN-16s from it, then FCN-8s from that."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.demo.batchnorm import fold_batchnorm, insert_batchnorm, running_statistics, trunk_names
from fcnrt.demo.evaluate import confusion, to_input
from fcnrt.demo.pool import PortraitPool, ScenePool
from fcnrt.demo.pretraining import Classifier, DeeplySupervised
from fcnrt.demo.progress import Progress
from fcnrt.demo.replicas import Replica
from fcnrt.demo.scenes import CLASSES
from fcnrt.metrics import Scores
from fcnrt.models import VGGFCN, FCN8s, FCN16s, FCN32s

NETS: Mapping[str, type[VGGFCN]] = {"fcn32s": FCN32s, "fcn16s": FCN16s, "fcn8s": FCN8s}

TRAINING_SEED = 1_000_000
"""Training scenes count up from here, held-out ones from 0."""
PORTRAIT_SEED = 2_000_000
"""And portraits from here."""
DROPOUT = 0.1
"""Instead of VGG's 0.5: the slim net has no capacity to waste."""
WARMUP = 40
"""Steps over which the learning rate rises."""


@dataclass(frozen=True)
class Stage:
    """One net, trained from the weights of the stage before. ``steps`` are those of a full run."""

    arch: str
    steps: int
    learning_rate: float


CLASSIFIER = Stage("classifier", 600, 2e-3)
PRETRAINING = Stage("pretraining", 2400, 3e-3)
STAGES: tuple[Stage, ...] = (
    Stage("fcn32s", 300, 1e-3),
    Stage("fcn16s", 120, 7e-4),
    Stage("fcn8s", 250, 7e-4),
)
FROZEN = ("conv1", "conv2")
"""Blocks that stay as pretraining left them: edges and colours are learned, and a third of the work is theirs."""


@dataclass(frozen=True)
class Settings:
    """What a run depends on. Batches are per replica; pictures are drawn for all; ``held_out`` are scored.

    ``length`` multiplies the steps of every stage; ``batch``, ``window_batch`` and ``portrait_batch`` are of crops
    of scenes, of smaller windows of them and of portraits, each with its side in pixels; ``size`` is that of a scene.
    """

    length: float = 1.0
    width: float = 0.125
    scenes: int = 900
    size: int = 256
    crop: int = 192
    batch: int = 1
    window: int = 128
    window_batch: int = 2
    portraits: int = 2000
    portrait: int = 64
    portrait_batch: int = 16
    held_out: int = 60
    held_out_size: tuple[int, int] = (240, 320)
    seed: int = 0
    workers: int = 2

    def stage_steps(self, stage: Stage) -> int:
        return max(1, round(self.length * stage.steps))


@dataclass(frozen=True)
class Trained:
    """A net at the end of its stage, as it will be stored (rounded to float16)."""

    arch: str
    model: VGGFCN
    scores: Scores
    steps: int
    seconds: float


class Trainer:
    """One replica's part of the work: its scenes, its random numbers."""

    def __init__(self, settings: Settings, replica: Replica) -> None:
        self.settings = settings
        self.replica = replica
        self.rng = np.random.default_rng((settings.seed, replica.rank))
        scenes, portraits = (
            range(first, first + count)[replica.rank :: replica.count]
            for first, count in ((TRAINING_SEED, settings.scenes), (PORTRAIT_SEED, settings.portraits))
        )
        self.portraits = PortraitPool(portraits, settings.portrait, self._progress("drawing portraits", len(portraits)))
        self.scenes = ScenePool(scenes, settings.size, self._progress("drawing scenes", len(scenes)))

    def pretrain(self) -> VGGFCN:
        """A plain FCN-32s whose trunk has learned."""
        settings = self.settings
        torch.manual_seed(settings.seed)  # every replica begins with the same weights
        net = FCN32s(len(CLASSES), width=settings.width)
        set_dropout(net)
        insert_batchnorm(net)
        classifier, supervised = Classifier(net), DeeplySupervised(net)
        self._descend(
            CLASSIFIER,
            classifier,
            lambda images, classes: F.cross_entropy(classifier(images), classes),
            lambda: self.portraits.batch(self.rng, settings.portrait_batch),
        )
        self._descend(
            PRETRAINING,
            supervised,
            supervised.loss,
            lambda: self.scenes.batch(self.rng, settings.window_batch, settings.window),
        )
        self.replica.average(running_statistics(net))
        fold_batchnorm(net)
        return supervised.finish()

    def train(self, stage: Stage, start: VGGFCN) -> Trained:
        """Trains ``stage`` from the layers that it shares with ``start``, which is left as it is."""
        began = time.monotonic()
        settings = self.settings
        model = NETS[stage.arch](len(CLASSES), width=settings.width)
        set_dropout(model)
        shared = {key: value for key, value in start.state_dict().items() if not key.startswith("upscore")}
        model.load_state_dict(shared, strict=False)
        fixed = [name for name in trunk_names(model) if name.startswith(FROZEN)]
        upsampling = [name for name, layer in model.named_children() if isinstance(layer, nn.ConvTranspose2d)]
        for name in fixed + upsampling:
            model.get_submodule(name).requires_grad_(False)

        def loss(images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(model(images), labels)

        self._descend(stage, model, loss, lambda: self.scenes.batch(self.rng, settings.batch, settings.crop))
        stored = copy.deepcopy(model).eval().half().float()
        return Trained(stage.arch, stored, self.score(stored), settings.stage_steps(stage), time.monotonic() - began)

    def score(self, model: VGGFCN) -> Scores:
        """The figures on the held-out scenes, shared out among the replicas."""
        seeds = range(self.settings.held_out)[self.replica.rank :: self.replica.count]
        matrix = confusion(model, seeds, *self.settings.held_out_size)
        self.replica.total(torch.from_numpy(matrix.counts))
        return matrix.scores()

    def _descend(
        self,
        stage: Stage,
        model: nn.Module,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        batch: Callable[[], tuple[Tensor, Tensor]],
    ) -> None:
        """Gradient descent on ``loss_of(normalised images, truth)``, in step with the other replicas."""
        steps = self.settings.stage_steps(stage)
        # From here on the replicas' random numbers differ: each drops other channels.
        torch.manual_seed(self.settings.seed * 1000 + self.replica.rank)
        model.train()
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(parameters, stage.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        progress = self._progress(stage.arch, steps)
        smoothed = math.nan
        for step in range(1, steps + 1):
            images, truth = batch()
            optimizer.zero_grad()
            loss = loss_of(to_input(images), truth)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self.replica.average([p.grad for p in parameters if p.grad is not None])
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            smoothed = loss.item() if math.isnan(smoothed) else 0.97 * smoothed + 0.03 * loss.item()
            progress(step, f"loss {smoothed:.3f}")

    def _progress(self, name: str, total: int) -> Callable[..., None]:
        """Rank 0 alone reports."""
        return Progress(name, total).update if self.replica.rank == 0 else lambda *progress: None


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: a straight rise, then a cosine to almost nothing."""
    return min(1.0, (step + 1) / WARMUP) * (0.5 * (1 + math.cos(math.pi * step / steps)) + 1e-3)


def set_dropout(net: VGGFCN) -> None:
    for module in net.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = DROPOUT
