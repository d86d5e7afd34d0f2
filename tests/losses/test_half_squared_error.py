import torch

from polytask.losses import half_squared_error


def test_is_the_gaussian_likelihood_up_to_its_constant():
    output, label = torch.tensor([[1.0], [-3.0]], dtype=torch.float64), torch.tensor([4.0, -2.5], dtype=torch.float64)
    gaussian = torch.distributions.Normal(output.squeeze(1), 1.0)
    constant = 0.5 * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    torch.testing.assert_close(half_squared_error(output, label), -gaussian.log_prob(label) - constant)


def test_gradient_is_the_residual():
    output = torch.tensor([[1.0], [-3.0]], dtype=torch.float64, requires_grad=True)
    label = torch.tensor([4.0, -2.5], dtype=torch.float64)
    (slope,) = torch.autograd.grad(half_squared_error(output, label).sum(), output)
    assert slope.squeeze(1).tolist() == [-3.0, -0.5]
    assert torch.autograd.gradcheck(lambda x: half_squared_error(x, label), output)
