"""A training loop of your own: plain PyTorch, with a sharing, heads and a balancer taken out of Polytask.

python examples/own_loop.py

Two tasks on the same rows, one of them labelled on a tenth: a missing label is absent, not zero. Any name in `SHARINGS` and any
name in `BALANCERS` may stand in the two lines that choose them.
"""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from polytask.balancers import BALANCERS
from polytask.sharing import SHARINGS

TASKS = ("click", "buy")


def rows(number, generator):
    """Inputs, labels, and which labels there are: every click, one purchase in ten."""
    x = torch.randn(number, 20, generator=generator)
    signal = torch.stack([x[:, 0] + x[:, 1] * x[:, 2], x[:, 0] + x[:, 3]])
    labels = (torch.rand(2, number, generator=generator) < signal.sigmoid()).float()
    observed = torch.stack([torch.ones(number), torch.rand(number, generator=generator)]) > torch.tensor([[0.0], [0.9]])
    return x, labels, observed


def losses_of(logits, labels, observed):
    """Mean loss of each task over the rows that are labelled for it; no entry for a task without any."""
    return {
        task: cross_entropy(logit[seen], label[seen])
        for task, logit, label, seen in zip(TASKS, logits, labels, observed, strict=True)
        if seen.any()
    }


def main(steps=200):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    trunk = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU())
    sharing = SHARINGS["mmoe"](32, TASKS, num_experts=4, hidden=(16,))
    balancer = BALANCERS["uncertainty"](TASKS)
    heads = torch.nn.ModuleList(torch.nn.Linear(sharing.out_features, 1) for _ in TASKS)
    model = torch.nn.ModuleList([trunk, sharing, heads, balancer])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def forward(x):
        shared = sharing(trunk(x))
        return shared, [head(z)[:, 0] for head, z in zip(heads, shared.outputs, strict=True)]

    for _ in range(steps):
        x, labels, observed = rows(256, generator)
        shared, logits = forward(x)
        optimizer.zero_grad()
        # was: sum(losses).backward()
        balance = balancer.backward(losses_of(logits, labels, observed), junction=shared, penalty=shared.penalty)
        optimizer.step()
        sharing.after_step(1e-2)  # a proximal step or a running estimate, where the sharing has one

    model.eval()
    x, labels, _ = rows(4096, generator)
    with torch.inference_mode():
        right = [((logit > 0) == label).float().mean().item() for logit, label in zip(forward(x)[1], labels, strict=True)]
    found = dict(zip(TASKS, right, strict=True))
    print("weights", {task: round(float(weight), 3) for task, weight in balance.weights.items()})
    print("accuracy", {task: round(value, 3) for task, value in found.items()})
    return found


if __name__ == "__main__":
    main()
