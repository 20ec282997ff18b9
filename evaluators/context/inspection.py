"""Inspection of a quantized model on a few images: faults are named by their site."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import torch

from bitfront.evaluators.context.preparing import CALIBRATION_BATCH
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.sites import site_format
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.quantized.model import QuantizedModel
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.observers import check_finite
from bitfront.spaces import BitConfig, BitfrontError, QuantSite

# A tensor saturates where more than this share of its values lies on the outermost codes of its grid (zero's
# own code apart) ...
SATURATED_SHARE = 0.5
# ... though no more than this share of them did in calibration.
USUAL_SHARE = 0.1
# Images that are looked at for each configuration.
IMAGES = 4
# Its range is that of pixels: nothing can exceed it, and a white background lies on an outermost code.
_BOUNDED = "image"


class Inspector:
    """A tap of a quantized model that raises at the first fault.

    Args:
        config: The model's configuration.
        sites: The model's quantization sites.
        calibration: What its values were like in calibration.
    """

    def __init__(self, config: BitConfig, sites: Iterable[QuantSite], calibration: Calibration) -> None:
        self._config = config
        self._sites = {site.name: site for site in sites}
        self._calibration = calibration

    def __call__(self, site: str, value: torch.Tensor) -> None:
        """Looks at the codes, or the floats, of a site.

        Raises:
            BitfrontError: NaN or infinity, or saturated codes.
        """
        if value.is_floating_point():
            if not bool(value.isfinite().all()):
                raise BitfrontError(f"NaN or infinity at {site} with configuration {self._config.digest}")
        elif site in self._sites and self._sites[site].kind == "activations" and site != _BOUNDED:
            self._check_saturation(self._sites[site], value)

    def _check_saturation(self, site: QuantSite, codes: torch.Tensor) -> None:
        bits, calibration = site_format(site, self._config), self._calibration
        assert isinstance(bits, int), "floats have no codes"
        grid = calibration.power_of_two.get(site.name) or calibration.grid(site.name, bits)
        usual = calibration.outermost.get((site.name, bits), 0.0)  # none is kept of power-of-two grids
        share = float((((codes == 0) | (codes == grid.qmax)) & (codes != grid.zero_point)).double().mean())
        if share > SATURATED_SHARE and usual < USUAL_SHARE:
            raise BitfrontError(
                f"{site.name} saturates at {bits} bits with configuration {self._config.digest}: "
                f"{100 * share:.0f} % of its values lie on the ends of its range, {100 * usual:.1f} % did in "
                "calibration; calibrate on images like those that are evaluated"
            )


def inspect(
    model: QuantizedModel,
    inspector: Inspector,
    prepared: PreparedModel,
    images: PreprocessedImages,
    first: bool = False,
) -> None:
    """Looks at every value of a model on images.

    Args:
        model: The model of a configuration.
        inspector: Looks at its values.
        prepared: What it was assembled from.
        images: What it is run on.
        first: Whether a few of them are enough.

    Raises:
        BitfrontError: NaN, infinity or saturation; the tensor is named.
    """
    for batch, _ in images.batches(IMAGES if first else CALIBRATION_BATCH):
        model(batch.to(prepared.kernels.device), inspector)
        if first:
            return


@torch.inference_mode()
def name_float_fault(prepared: PreparedModel, images: PreprocessedImages, which: str) -> NoReturn:
    """Raises an error that names the tensor where the float model overflows.

    Args:
        prepared: Has the float model's parts.
        images: Images on which its logits are not finite.
        which: What they are called.
    """

    def tap(site: str, value: torch.Tensor) -> None:
        check_finite(site, value)

    for batch, _ in images.batches(CALIBRATION_BATCH):
        forward(prepared.blueprint, batch.to(prepared.kernels.device), tap)
    raise BitfrontError(f"the float model yields logits that are not finite on {which}")
