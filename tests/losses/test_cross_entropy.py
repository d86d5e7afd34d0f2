import torch

from polytask.losses import binary_cross_entropy, cross_entropy


def test_is_minus_the_log_probability_of_the_right_class():
    output = torch.tensor([[0.1, 2.0, -1.0], [0.0, 0.5, 3.0]], dtype=torch.float64)
    found = cross_entropy(output, torch.tensor([1.0, 0.0]))
    probability = output.exp() / output.exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(found, -torch.stack([probability[0, 1], probability[1, 0]]).log())


def test_two_classes_are_the_binary_loss_of_the_difference():
    output, label = torch.tensor([[0.4, 1.1], [2.0, -1.0]]), torch.tensor([1.0, 1.0])
    torch.testing.assert_close(cross_entropy(output, label), binary_cross_entropy(output[:, 1:] - output[:, :1], label))


def test_gradient():
    output = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, torch.tensor([2.0, 0.0, 1.0, 2.0])), output)
