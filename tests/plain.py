"""The simplest encoder, for tests of what comes after it."""

import torch
from torch import nn


class Numbers(nn.Module):
    """The numeric columns as they are; with a width, each times a weight that is trained."""

    def __init__(self, width=0):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width)) if width else None

    def forward(self, features):
        return features.numeric if self.scale is None else features.numeric * self.scale
