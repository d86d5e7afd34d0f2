"""Precision: the global flag comes back, bf16 is refused where it is emulated, sums stay float32."""

import pytest
import torch

from polytask import precision
from polytask.errors import ConfigError
from polytask.precision import PRECISIONS, autocast, has_bf16, matmul_precision, precision_context, resolve_precision


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("before", ["highest", "high", "medium"])
def test_flag_comes_back_also_after_an_error(name, before):
    if name == "bf16" and not has_bf16():
        pytest.skip("no native bfloat16 here")
    old = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(before)
        with precision_context(name):
            assert torch.get_float32_matmul_precision() == ("highest" if name == "float32" else "medium")
        assert torch.get_float32_matmul_precision() == before
        with pytest.raises(RuntimeError), precision_context(name):
            raise RuntimeError
        assert torch.get_float32_matmul_precision() == before
    finally:
        torch.set_float32_matmul_precision(old)


def test_unknown_name_is_met_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'medium'"):
        resolve_precision("medum")


def test_emulated_bf16_is_refused_and_auto_falls_back(monkeypatch):
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    with pytest.raises(ConfigError, match=r"'bf16' needs native bfloat16\. Received: device 'cpu'\. Use 'medium'"):
        resolve_precision("bf16")
    assert resolve_precision("auto") == "medium"


@pytest.mark.parametrize("capability", ["avx512_bf16", "amx_bf16", "bf16"])
def test_auto_takes_native_bf16(monkeypatch, capability):
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: {capability: True})
    assert resolve_precision("auto") == "bf16"


def test_only_bf16_autocasts(monkeypatch):
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    layer = torch.nn.Linear(3, 2)
    for name, dtype in [("float32", torch.float32), ("medium", torch.float32), ("bf16", torch.bfloat16)]:
        with autocast(name):
            assert layer(torch.zeros(1, 3)).dtype == dtype
        with matmul_precision(name):
            assert layer(torch.zeros(1, 3)).dtype == torch.float32
