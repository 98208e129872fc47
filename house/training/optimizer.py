"""Which weights learn by which rule: matrices by orthogonalised momentum (Muon), the rest by AdamW.

Muon (K. Jordan and others, 2024, "Muon: an optimizer for hidden layers") reached the same loss here
in about two thirds of the pictures that AdamW needed; torch has it for matrices, so a convolution's
weight `[out, in, h, w]` is given to it as the matrix `[out, in·h·w]` that shares its memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

# A thin matrix has nothing to orthogonalise.
_THINNEST = 16


class Mixed:
    """Muon and AdamW over one set of parameters, each with its own highest learning rate."""

    def __init__(
        self, groups: Iterable[tuple[Iterable[nn.Parameter], float]], *, muon: bool = True
    ) -> None:
        self._flat: list[tuple[nn.Parameter, nn.Parameter]] = []
        matrices: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        self.trained: list[nn.Parameter] = []
        for given, rate in groups:
            parameters = [p for p in given if p.requires_grad]
            self.trained += parameters
            chosen = [p for p in parameters if muon and _is_matrix(p)]
            rest = [p for p in parameters if not (muon and _is_matrix(p))]
            if chosen:
                matrices.append(
                    {"params": list(self._flatten(chosen)), "lr": rate, "highest": rate}
                )
            if rest:
                others.append({"params": rest, "lr": rate, "highest": rate})
        self._optimizers: list[torch.optim.Optimizer] = []
        if matrices:
            muon_rule = torch.optim.Muon(
                matrices, weight_decay=0.01, ns_steps=4, adjust_lr_fn="match_rms_adamw"
            )
            self._optimizers.append(muon_rule)
        if others:
            self._optimizers.append(torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.01))

    def step(self, rate: float) -> None:
        """One step at `rate` (a share of each group's highest), and gradients to nothing."""
        for weight, matrix in self._flat:
            matrix.grad = None if weight.grad is None else weight.grad.reshape(matrix.shape)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["highest"] * rate
            optimizer.step()
        for weight in self.trained:
            weight.grad = None

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self._optimizers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Take up the momenta; rates and the like stay as they were asked for now."""
        for optimizer, state in zip(self._optimizers, states, strict=True):
            asked = [_settings(group) for group in optimizer.param_groups]
            optimizer.load_state_dict(state)
            for group, settings in zip(optimizer.param_groups, asked, strict=True):
                group.update(settings)

    def _flatten(self, weights: list[nn.Parameter]) -> Iterator[nn.Parameter]:
        for weight in weights:
            weight.data = weight.data.contiguous()
            matrix = nn.Parameter(weight.data.view(weight.shape[0], -1))
            self._flat.append((weight, matrix))
            yield matrix


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _is_matrix(weight: nn.Parameter) -> bool:
    return weight.ndim >= 2 and min(weight.shape[0], weight[0].numel()) >= _THINNEST
