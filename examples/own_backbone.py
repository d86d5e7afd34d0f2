"""A backbone of your own, made multi-task: a small convolutional network, two tasks on its images.

python examples/own_backbone.py

Four ways, from the least to the most: one trunk and a head a task; the trunk's output through a mixture; a trunk whose layers
each task corrects a little; a network a task, stitched after every stage. Images are made here: each shows a bar, upright or
not, bright or not.
"""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from polytask.sharing import Adapters, CrossStitch, MMoE, SharedBottom

TASKS = ("upright", "bright")


def images(number, generator):
    """Images `n 1 12 12` with noise, and labels `2 n`."""
    upright, bright = torch.randint(2, (2, number), generator=generator)
    places = torch.randint(2, 10, (number,), generator=generator)
    canvas = 0.4 * torch.randn(number, 12, 12, generator=generator)
    for row in range(number):
        bar = (slice(None), places[row]) if upright[row] else (places[row], slice(None))
        canvas[row][bar] += 2.0 if bright[row] else 1.0
    return canvas.unsqueeze(1), torch.stack([upright, bright]).float()


def stages():
    """The backbone: any modules that follow each other."""
    return [
        nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()),
        nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
    ]


class Network(nn.Module):
    """`backbone → sharing → a head a task`; the backbone may be a part of the sharing."""

    def __init__(self, backbone, sharing, width):
        super().__init__()
        self.backbone, self.sharing = backbone, sharing
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in TASKS)

    def forward(self, x):
        outputs = self.sharing(self.backbone(x)).outputs  # one representation a task
        return [head(z)[:, 0] for head, z in zip(self.heads, outputs, strict=True)]


def networks():
    example, _ = images(2, torch.Generator().manual_seed(0))
    trunk = nn.Sequential(*stages())
    return {
        "one trunk": Network(nn.Sequential(*stages()), SharedBottom(16, TASKS, hidden=(16,)), 16),
        "a mixture on top": Network(nn.Sequential(*stages()), MMoE(16, TASKS, num_experts=4, hidden=(16,)), 16),
        "corrected layer by layer": Network(nn.Identity(), Adapters.around(trunk, TASKS, example, rank=4, frozen=False), 16),
        "stitched at every stage": Network(nn.Identity(), CrossStitch.around({task: stages() for task in TASKS}, example), 16),
    }


def main(steps=120):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    found = {}
    for name, network in networks().items():
        generator = torch.Generator().manual_seed(1)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(steps):
            x, labels = images(64, generator)
            losses = [cross_entropy(logit, label) for logit, label in zip(network(x), labels, strict=True)]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
        x, labels = images(1000, generator)
        with torch.inference_mode():
            right = [((logit > 0) == label).float().mean().item() for logit, label in zip(network.eval()(x), labels, strict=True)]
        found[name] = dict(zip(TASKS, right, strict=True))
        print(name, {task: round(value, 3) for task, value in found[name].items()})
    return found


if __name__ == "__main__":
    main()
