"""Images in, label maps out: a network with its preprocessing, its engine and what its classes mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

from fcnrt.calibration import images_to_show
from fcnrt.engine import Engine, Placement
from fcnrt.engine.precision import decide_dtype
from fcnrt.errors import InputError
from fcnrt.images import ImageSource, is_several, pair_up
from fcnrt.models import FCN
from fcnrt.models.registry import create_skeleton
from fcnrt.pipeline import Pipeline
from fcnrt.preprocessing import KINDS
from fcnrt.segmentation import Segmentation
from fcnrt.spec import ModelSpec


class Segmenter(nn.Module):
    """A network that is ready to label pixels; ``fcnrt.load`` makes one.

    It is an ``nn.Module`` in eval mode, bound to the device and type that it was loaded for. Many threads may call
    one Segmenter.

    Args:
        spec: what the network is.
        state_dict: its weights, float32 on the CPU, by the parameter names of ``fcnrt.models``.
        placement: device and type.
        engine: ``"fused"`` or ``"eager"``.
        calibration: images for int8 and 16 bits; see :func:`fcnrt.load`.

    Raises:
        InputError: the type does not hold the net's numbers, or ``calibration`` does not fit the net.
    """

    def __init__(
        self,
        spec: ModelSpec,
        state_dict: dict[str, Tensor],
        placement: Placement,
        engine: str,
        calibration: Iterable[ImageSource] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.engine_name = engine
        self._weights = state_dict
        self._reference: list[FCN] = []  # in a list, so that it is no submodule
        net = self._build_net()
        shown = images_to_show(placement, calibration, spec.normalization, net.in_channels)
        placement = decide_dtype(net, placement, engine, shown)
        self.engine = Engine(net, placement, engine, shown, normalization=spec.normalization)
        self._placement, self._channels = placement, self.engine.in_channels
        self.eval()

    def forward(self, x: Tensor) -> Any:
        """What the eager net returns.

        Args:
            x: floating ``[N,3,H,W]``, normalised as ``spec.normalization`` says; any H and W from 1 up. Nets that take
                more have it behind colour: ``[N,6,H,W]`` with HHA, ``[N,4,H,W]`` with depth.

        Returns:
            Logits, float32 ``[N,C,H,W]``; of a net with several heads a dict of them.

        Raises:
            InputError: ``x`` has another shape or type.
        """
        return self.engine(self._checked(x))

    def predict_labels(self, x: Tensor, confidence: bool = False) -> Any:
        """The best class of each pixel; the logits are never written to memory on a GPU.

        Args:
            x: as for calling the model.
            confidence: also return the winner's softmax probability.

        Returns:
            Labels, uint8 ``[N,H,W]`` (int32 past 255 classes); with ``confidence`` a tuple of them and the
            probability, float16 ``[N,H,W]``. Of a net with several heads a dict of these.

        Raises:
            InputError: ``x`` has another shape or type.
        """
        return self.engine.predict_labels(self._checked(x), confidence)

    @overload
    def segment(  # type: ignore[overload-overlap]  # a str or a tensor is iterable too, and one image first
        self,
        image: ImageSource,
        *,
        hha: ImageSource | None = None,
        depth: ImageSource | None = None,
        confidence: bool = False,
        resize: int | None = None,
    ) -> Segmentation: ...
    @overload
    def segment(
        self,
        image: Iterable[ImageSource],
        *,
        hha: Iterable[ImageSource] | None = None,
        depth: Iterable[ImageSource] | None = None,
        confidence: bool = False,
        resize: int | None = None,
    ) -> list[Segmentation]: ...
    def segment(
        self, image: Any, *, hha: Any = None, depth: Any = None, confidence: bool = False, resize: int | None = None
    ) -> Any:
        """Label the pixels of an image, or of each of several.

        On a GPU, images of one size that come within 32 of each other go through the network together, up to 16 at
        a time, and the next are read while it computes; images of different sizes are never padded to one. Of an
        iterable no more than that is read ahead.

        Args:
            image: a path, bytes, a binary file, a PIL image, a uint8 RGB array ``[H,W,3]``, a uint8 RGB tensor
                ``[3,H,W]``; or several: a tensor ``[N,3,H,W]``, a list or any other iterable of single images.
            hha: for nets that take HHA beside colour (``nyud-fcn32s-color-hha``), an image of the same size with
                disparity, height and angle in its three channels; with several images, as many of these.
            depth: for nets that take depth beside colour (``nyud-fcn32s-color-d``), a map of the same size in
                millimetres, without holes: anything that ``fcnrt.images.read_depth`` reads; with several images, as
                many of these.
            confidence: also keep the winner's probability of each pixel.
            resize: bring the shorter side to this many pixels first, as torchvision's presets do (520); the
                logits are brought back bilinearly, so labels always have the image's own size. None: native size.

        Returns:
            A ``Segmentation``, or a list of them where several images were given, in their order. Its ``speed`` has
            the milliseconds that the host read and the device waited for the image (``"preprocess"``), those of the
            network (``"inference"``), and those that the labels took from there (``"postprocess"``); of images that
            went together, each has an equal share.

        Raises:
            ImageError: an image cannot be read, or is too large for this machine; what is beside it has another size.
            InputError: ``resize`` is not a positive number; the net takes something else beside colour than was given.
        """
        if resize is not None and (isinstance(resize, bool) or not isinstance(resize, int) or resize < 1):
            raise InputError(f"resize is {resize!r}; expected the shorter side in pixels, such as 520, or None")
        beside = self._beside(hha=hha, depth=depth)
        pipeline = Pipeline(self.engine, self.spec, confidence, resize)
        if not is_several(image):
            return pipeline.run([(image, beside)])[0]
        return pipeline.run(pair_up(image, beside))

    @property
    def reference(self) -> FCN:
        """The eager float32 net with the same weights, on the same device: the yardstick.

        It is built when first asked for, and is not a submodule.
        """
        if not self._reference:
            net = self._build_net().eval().requires_grad_(False)
            self._reference.append(net.to(self.engine.placement.device))
        return self._reference[0]

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.engine.placement.device

    @property
    def dtype(self) -> torch.dtype:
        """The type that the trunk computes in."""
        return self.engine.placement.dtype

    def extra_repr(self) -> str:
        spec, placement = self.spec, self.engine.placement
        dtype = str(placement.dtype).removeprefix("torch.")
        return f"{spec.arch}, {spec.num_classes} classes, {self.engine_name} on {placement.device} in {dtype}"

    def _apply(self, fn: Any, recurse: bool = True) -> Segmenter:
        """What ``to``, ``cuda``, ``half`` and their like call: only what changes nothing is allowed."""
        probe = torch.empty(0, dtype=self.dtype, device=self.device)
        moved = fn(probe)
        if (moved.device, moved.dtype) != (probe.device, probe.dtype):
            raise InputError(
                f"this model was loaded for {self.device} in {self.dtype}, and packed for it; "
                f"load it again with fcnrt.load(path, device=..., dtype=...)"
            )
        return self

    def train(self, mode: bool = True) -> Segmenter:
        """Eval mode only.

        Raises:
            InputError: training mode was asked for.
        """
        if mode:
            raise InputError(
                "a Segmenter runs in eval mode only; to train, take a net of fcnrt.models.create_model "
                "and the weights of model.reference.state_dict()"
            )
        return super().train(False)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Not for a packed model.

        Raises:
            InputError: always; part of the weights would change and part would not.
        """
        raise InputError(
            "a Segmenter's weights are packed when it is made; write the new ones to a file and load it with fcnrt.load"
        )

    def _build_net(self) -> FCN:
        net = create_skeleton(self.spec.arch, self.spec.num_classes, **self.spec.options)
        net.load_state_dict(self._weights, assign=True)
        return net

    def _checked(self, x: Tensor) -> Tensor:
        # A GPU waits meanwhile: each attribute of a module that is a module costs half a microsecond.
        shape = x.shape if isinstance(x, Tensor) and x.is_floating_point() else ()
        if len(shape) != 4 or shape[1] != self._channels:
            found = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise InputError(
                f"the input is {found}; expected a floating [N,{self._channels},H,W], normalised as "
                f"{self.spec.normalization.name}. For images, call model.segment"
            )
        if not shape[2] or not shape[3]:
            raise InputError(f"the input is {list(shape)}; expected at least one row and one column")
        return x.to(self._placement.device)

    def _beside(self, **given: Any) -> Any:
        """What ``segment`` was given beside colour, once it is what the net takes; None if that is colour alone."""
        arch, rule, channels = self.spec.arch, self.spec.normalization, self.engine.in_channels
        if rule.channels != channels:
            raise InputError(
                f"{arch} takes {channels} channels, and normalization {rule.name!r} makes {rule.channels}; load the "
                f"net with another, or normalise by hand and call model(x) or model.predict_labels(x)"
            )
        taken = None if rule.beside is None else rule.beside.kind
        found = [kind for kind, source in given.items() if source is not None]
        if found != ([] if taken is None else [taken]):
            expected = "colour alone" if taken is None else f"{KINDS[taken][0]} beside colour, as {taken}="
            raise InputError(f"{arch} takes {expected}; found {' and '.join(f'{kind}=' for kind in found) or 'none'}")
        return None if taken is None else given[taken]
