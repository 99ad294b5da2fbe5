"""A network's batches, computed in this very process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from snn.activations import Array
from snn.batches import Batch, Workspace
from snn.layers import dropout_mask, gradients, slope_below
from snn.losses import Targets
from snn.network import Network, Params, walk
from snn.span import FirstLayer
from snn.strategies import Result


class Here:
    """Computes batches one after the other, in arrays that it uses again; the strategies call `gradients_of`."""

    def __init__(self, network: Network, seed: int, first: FirstLayer, targets: Targets) -> None:
        self._network, self._seed, self._first, self._targets = network, seed, first, targets
        self._work, self._masks = Workspace(), dict[int, Array | None]()
        self._walks = 0

    def gradients_of(self, params: Params, batches: Sequence[Batch]) -> Iterator[Result]:
        """Yield the results of batches for the same weights, in their order."""
        for batch in batches:
            cost, back = self._walk(params, batch)
            yield cost, partial(self._back, params, batch, back, self._walks)

    def _walk(self, params: Params, batch: Batch) -> tuple[float, Callable[[], Params]]:
        self._walks += 1
        self._params, self._batch = params, batch
        return walk(len(self._network.layers), self, np.empty(0))

    def _back(self, params: Params, batch: Batch, back: Callable[[], Params], walk: int) -> Params:
        """Go back for a batch; if another one has used the arrays since, go forward again."""
        if walk != self._walks:
            _, back = self._walk(params, batch)
        return back()

    def forward(self, layer: int, A_prev: Array) -> tuple[Array, Array]:
        """Return a layer's outputs and what its way back needs."""
        dense, params, batch = self._network.layers[layer - 1], self._params, self._batch
        if layer == 1:
            Z = self._first.sums(params, batch)
        else:
            W, b = params[f"W{layer}"], params[f"b{layer}"]
            Z = dense.sums(W, b, A_prev, self._work(f"Z{layer}", (dense.size, batch.size), W.dtype))
        mask = self._masks[layer] = dropout_mask(dense.dropout, batch.draw(self._seed, layer), Z.shape, Z.dtype)
        return dense.forward(Z, mask)

    def cost(self, Z: Array) -> tuple[float, Array]:
        """Return the batch's cost and its slope in the logits."""
        return self._targets.cost(Z, self._batch.places)

    def backward(self, layer: int, dZ: Array, kept: Array, A_prev: Array) -> tuple[Array, Params]:
        """Return a layer's dZ and gradients."""
        dense = self._network.layers[layer - 1]
        if layer < len(self._network.layers):
            dA = slope_below(self._params[f"W{layer + 1}"], dZ, self._work(f"dA{layer}", kept.shape, kept.dtype))
            dZ = dense.error(dA, kept, self._masks[layer])
        if layer == 1:
            return dZ, self._first.gradients(dZ, self._batch)
        dW, db = gradients(dZ, A_prev, self._work(f"dW{layer}", (len(dZ), len(A_prev)), dZ.dtype))
        return dZ, {f"W{layer}": dW, f"b{layer}": db}
