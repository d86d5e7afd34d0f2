"""The tensor-normal prior: a covariance for each mode of a tensor, and what it says of the tensor."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn


@final
class TensorNormal(nn.Module):
    """`vec(W) ~ N(0, S_1 x ... x S_m)`, a Kronecker product of one covariance a mode; all start at the identity.

    Only the product is identified, so each covariance has the trace of an identity: a mean variance of 1. What is stored is each
    covariance's whitener, the inverse of its Cholesky factor: no step has to decompose or invert anything.

    Args:
        sizes: Size of each mode.
        floor: Share of the identity that is mixed into each estimate: no direction is held down more than 1 / floor times.
    """

    def __init__(self, sizes: Sequence[int], *, floor: float) -> None:
        super().__init__()
        self.floor = floor
        self.sizes = tuple(sizes)
        for mode, size in enumerate(sizes):
            self.register_buffer(f"whitener_{mode}", torch.eye(size))

    def forward(self, weight: Float[Tensor, "*sizes"]) -> Float[Tensor, ""]:
        """Minus the log density without its constant: `vec(W)' (S_1 x ...)^-1 vec(W) / 2 + Σ_m (D / D_m) log|S_m| / 2`."""
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
        others = [weight.numel() // size for size in self.sizes]
        logs = [count * self._whitener(mode).diagonal().log().sum() for mode, count in enumerate(others)]
        return self._whitened(weight).square().sum() / 2 - torch.stack(logs).sum()

    @torch.no_grad()
    def update(self, weight: Float[Tensor, "*sizes"]) -> None:
        """One round of flip-flop: each covariance in turn as the others make it most likely, brought to its trace and floor."""
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
        for mode, size in enumerate(self.sizes):
            rows = self._whitened(weight, but=mode).movedim(mode, 0).flatten(1)
            products = rows @ rows.mT
            scale = products.diagonal().mean().clamp_min(torch.finfo(products.dtype).tiny)
            eye = torch.eye(size, dtype=products.dtype, device=products.device)
            # Without a check for failure: that would wait for the device, and the floor keeps it away.
            factor = torch.linalg.cholesky_ex(products * ((1 - self.floor) / scale) + self.floor * eye)[0]
            self.get_buffer(f"whitener_{mode}").copy_(torch.linalg.solve_triangular(factor, eye, upper=False))

    @torch.no_grad()
    def covariance(self, mode: int) -> Float[Tensor, "a a"]:
        """The covariance of one mode; its trace is its size."""
        whitener = self._whitener(mode)
        eye = torch.eye(len(whitener), dtype=whitener.dtype, device=whitener.device)
        factor: Tensor = torch.linalg.solve_triangular(whitener, eye, upper=False)
        return factor @ factor.mT

    def _whitener(self, mode: int) -> Float[Tensor, "a a"]:
        whitener = self.get_buffer(f"whitener_{mode}")
        return whitener.to(torch.promote_types(whitener.dtype, torch.float32))

    def _whitened(self, weight: Tensor, but: int | None = None) -> Tensor:
        for mode in range(len(self.sizes)):
            if mode != but:
                moved = weight.movedim(mode, 0)
                weight = (self._whitener(mode).to(weight.dtype) @ moved.flatten(1)).reshape(moved.shape).movedim(0, mode)
        return weight
