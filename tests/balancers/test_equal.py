"""The plain sum."""

from polytask.balancers import Equal
from polytask.testing import check_balancer


def test_contract():
    check_balancer(Equal)
