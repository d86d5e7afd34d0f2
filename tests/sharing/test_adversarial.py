"""Adversarial shared-private: the contract, a slow reference, the reversal, and a shared part that betrays no task."""

import math
from functools import partial

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.errors import ConfigError
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import Schedule, build_optimizer
from polytask.sharing import Adversarial
from polytask.sharing._adversarial import overlap, reversed_gradient
from polytask.tasks import Binary
from polytask.testing import check_sharing
from polytask.train import train_step

SMALL = {"hidden": (7,), "private_hidden": (4, 3)}


@pytest.mark.parametrize(
    "options", [{}, {"discriminator": (), "ramp_steps": 3}, {"orthogonality": 0.0, "strength": 0.0, "dropout": 0.2}]
)
def test_contract(options):
    check_sharing(partial(Adversarial, **SMALL, **options))


def test_equals_a_slow_reference(slow, scrambled):
    sharing = scrambled(Adversarial(4, ["a", "b", "c"], discriminator=(5,), orthogonality=0.3, **SMALL))
    x = torch.randn(6, 4, dtype=torch.float64)
    shared = sharing.train()(x)
    rows = x.tolist()
    common = [slow.mlp(sharing.shared, 0, row) for row in rows]
    own = {name: [slow.mlp(sharing.private.of(name), 0, row) for row in rows] for name in "abc"}
    for place, name in enumerate("abc"):
        for i in range(6):
            assert shared.outputs[place, i].tolist() == pytest.approx(common[i] + own[name][i], abs=1e-10)
    squares = 0.0
    for name in "abc":
        for s in range(7):
            for p in range(3):
                squares += (sum(common[i][s] * own[name][i][p] for i in range(6)) / 6) ** 2
    assert shared.penalty.item() == pytest.approx(0.3 * squares, abs=1e-10)
    guesses = torch.tensor(slow_guesses(sharing, common), dtype=torch.float64)
    torch.testing.assert_close(shared.guesses, guesses, rtol=0, atol=1e-10)


def slow_guesses(sharing, common):
    """Logits of each row, unit by unit; a weight is ten times its parameter."""
    columns = []
    for unit in zip(*common, strict=True):
        mean = sum(unit) / len(unit)
        variance = sum((value - mean) ** 2 for value in unit) / len(unit)
        columns.append([(value - mean) / math.sqrt(variance + 1e-3) for value in unit])

    def layer(parameters, row):
        units = zip(parameters.weight.tolist(), parameters.bias.tolist(), strict=True)
        return [10 * bias + sum(10 * w * value for w, value in zip(weights, row, strict=True)) for weights, bias in units]

    guesses = []
    for row in zip(*columns, strict=True):
        hidden = [max(value, 0.0) for value in layer(sharing.discriminator.layers[0], row)]
        guesses.append([layer(sharing.discriminator.verdicts.of(name), hidden)[0] for name in sharing.tasks])
    return guesses


def test_a_reversal_changes_no_number_and_turns_the_gradient():
    x = torch.randn(5, 3, requires_grad=True)
    strength = torch.tensor(0.3)
    assert torch.equal(reversed_gradient(x, strength), x)
    (straight,) = torch.autograd.grad(x.sin().sum(), x)
    (turned,) = torch.autograd.grad(reversed_gradient(x, strength).sin().sum(), x)
    torch.testing.assert_close(turned, -0.3 * straight)
    batched = torch.func.vmap(torch.func.grad(lambda row: reversed_gradient(row, strength).sin().sum()))(x.detach())
    torch.testing.assert_close(batched, turned)


def test_the_discriminator_learns_what_the_encoder_hides():
    torch.manual_seed(0)
    sharing = Adversarial(4, ["a", "b"], strength=0.25, **SMALL).double()
    x, target = torch.randn(9, 4, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 0, 0, 0, 1])
    shared = sharing(x)
    common, loss = shared.junction[0], torch.nn.functional.cross_entropy(shared.guesses, target)
    judge = list(sharing.discriminator.parameters())
    gradients = torch.autograd.grad(loss, [common, *judge])
    after = torch.nn.functional.cross_entropy(sharing.discriminator(common.detach() + 0.01 * gradients[0]), target)
    assert after < loss  # to go down the gradient of the encoder would be to go up the loss of the judge
    free = common.detach().requires_grad_()
    expected = torch.autograd.grad(torch.nn.functional.cross_entropy(sharing.discriminator(free), target), [free, *judge])
    torch.testing.assert_close(gradients[0], -0.25 * expected[0])
    torch.testing.assert_close(gradients[1:], expected[1:])


def test_private_encoders_never_hear_of_the_adversary():
    sharing = Adversarial(4, ["a", "b"], **SMALL)
    shared = sharing(torch.randn(9, 4))
    private = list(sharing.private.parameters())
    assert torch.autograd.grad(shared.guesses.sum(), private, retain_graph=True, allow_unused=True) == (None,) * len(private)
    assert all(
        found.abs().sum() > 0 for found in torch.autograd.grad(shared.penalty, [private[0], next(sharing.shared.parameters())])
    )


def test_the_overlap_has_the_gradient_of_its_differences_and_no_size_of_batch():
    torch.manual_seed(0)
    common = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    own = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(overlap, (common, own))
    twice = overlap(torch.cat([common, common]), torch.cat([own, own], dim=1))
    torch.testing.assert_close(twice, overlap(common, own))
    apart = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]]), torch.tensor([[[1.0], [-1.0], [1.0], [-1.0]]])
    assert overlap(*apart) == 0


def test_the_strength_rises_as_published():
    sharing = Adversarial(4, ["a"], strength=3.0, ramp_steps=4, **SMALL)
    found = []
    for _ in range(6):
        found.append(sharing.reversal().item())
        sharing.after_step(0.1)
    published = [3 * (2 / (1 + math.exp(-10 * p)) - 1) for p in (0, 0.25, 0.5, 0.75, 1, 1)]
    assert found == pytest.approx(published, abs=1e-6)
    assert Adversarial(4, ["a"], strength=0.4, **SMALL).reversal().item() == pytest.approx(0.4)


NUM_TRAIN = 8000


def domains(seed):
    """Each row is of one of two domains, as two columns tell; each domain has a weight of its own beside the common one."""
    generator = torch.Generator().manual_seed(seed)
    n = NUM_TRAIN + 4000
    common, own = torch.randn(8, generator=generator) / 8**0.5, torch.randn(2, 8, generator=generator) / 8**0.5
    domain = torch.randint(0, 2, (n,), generator=generator)
    signal = torch.randn(n, 8, generator=generator)
    tells = 2 * torch.nn.functional.one_hot(domain, 2) + torch.randn(n, 2, generator=generator)
    score = 3 * (signal @ common) + 1.5 * (signal * own[domain]).sum(1)
    label = (torch.rand(n, generator=generator) < score.sigmoid()).float()
    return torch.cat([signal, tells], dim=1), domain, label


class Rows(torch.nn.Module):
    out_features = 10

    def forward(self, features):
        return features.numeric


def batch_of(x, domain, label):
    observed = [domain == 0, domain == 1]
    labels = {name: Labels(label, mask, int(mask.sum())) for name, mask in zip(("books", "films"), observed, strict=True)}
    return Batch(Features(torch.zeros(len(x), 0, dtype=torch.int64), x, {}), labels)


def trained(seed, *, strength, num_steps):
    """A trained sharing, and the AUC of each task on new rows."""
    torch.manual_seed(seed)
    tasks = ["books", "films"]
    x, domain, label = domains(seed)
    sharing = Adversarial(10, tasks, hidden=(16,), private_hidden=(16,), strength=strength)
    model = MultiTaskModel([Rows()], sharing, Heads(sharing.out_features, [Binary(name) for name in tasks]))
    optimizer = build_optimizer(model, Equal(tasks), lr=3e-3)
    schedule = Schedule(optimizer, kind="cosine", total_steps=num_steps)
    for _ in range(num_steps):
        rows = torch.randint(0, NUM_TRAIN, (512,))
        train_step(model, Equal(tasks), optimizer, batch_of(x[rows], domain[rows], label[rows]))
        schedule.step()
    model.eval()
    with torch.no_grad():
        predicted = model.predict(batch_of(x, domain, label).features)
    new = torch.arange(len(x)) >= NUM_TRAIN
    aucs = [
        roc_auc_score(label[new & (domain == place)], predicted[name][new & (domain == place)])
        for place, name in enumerate(tasks)
    ]
    return sharing, aucs


def betrayed(sharing, seed):
    """AUC with which probes that never met the encoder tell the domain from its frozen output."""
    x, domain, _ = domains(seed)
    with torch.no_grad():
        common = sharing(x[NUM_TRAIN:]).junction[0]
    common = ((common - common.mean(0)) / (common.std(0) + 1e-6)).numpy()
    target = domain[NUM_TRAIN:].numpy()
    probes = (LogisticRegression(), MLPClassifier((32,), max_iter=100, early_stopping=True, random_state=0))
    return [
        roc_auc_score(target[2000:], probe.fit(common[:2000], target[:2000]).predict_proba(common[2000:])[:, 1])
        for probe in probes
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_no_new_probe_tells_the_task_from_the_shared_part_and_the_tasks_lose_nothing(seed):
    hidden, aucs = trained(seed, strength=2.0, num_steps=600)
    plain, plain_aucs = trained(seed, strength=0.0, num_steps=300)
    assert all(0.45 < auc < 0.55 for auc in betrayed(hidden, seed))
    assert all(auc > 0.8 for auc in betrayed(plain, seed))
    assert all(with_adversary > without - 0.01 for with_adversary, without in zip(aucs, plain_aucs, strict=True))


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"not negative\. Received: strength=-1"):
        Adversarial(4, ["a"], strength=-1.0)
    with pytest.raises(ConfigError, match="A discriminator needs positive widths"):
        Adversarial(4, ["a"], discriminator=(0,))
