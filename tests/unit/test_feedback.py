"""Compensated rounding, against the elimination it stands for done step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgekit.errors import ConversionError
from edgekit.quantize.feedback import Compensation, moments
from edgekit.quantize.language import linears
from edgekit.quantize.rounding import searched
from tests.gguf_files import tiny


def correlated(columns: int) -> Tensor:
    torch.manual_seed(1)
    x = torch.randn(4 * columns, columns) @ torch.randn(columns, columns)
    return x.T @ x / len(x)


def eliminated(weight: Tensor, moment: Tensor, bits: int, block: int, scales: Tensor) -> Tensor:
    """Optimal brain quantisation in a fixed order: after each column its row and column leave the
    inverse, and the columns left take the step that makes up best for the error. Float64."""
    w = weight.double().clone()
    damped = moment.double() + 0.01 * moment.diagonal().double().mean() * torch.eye(len(moment))
    inverse = torch.linalg.inv(damped)
    for i in range(w.shape[1]):
        scale = scales[:, i // block].double()
        middle = 2 ** (bits - 1)
        rounded = ((w[:, i] / scale + middle).round().clamp(0, 2**bits - 1) - middle) * scale
        w -= ((w[:, i] - rounded) / inverse[i, i])[:, None] * inverse[i]
        w[:, i] = rounded
        inverse = inverse - inverse[:, i, None] * inverse[None, i] / inverse[i, i]
        inverse[i, i] = 1.0  # of no more use
    return w


@pytest.mark.parametrize(("columns", "block"), [(64, 32), (72, 32), (48, 16)])
def test_it_is_optimal_brain_quantisation_in_order(columns: int, block: int) -> None:
    moment, weight = correlated(columns), torch.randn(24, columns)
    made = Compensation(moment).round(weight, 4, block)
    expected = eliminated(weight, moment, 4, block, made.scales)
    off = (made.dequantised() - expected).abs() > 1e-3
    assert off.float().mean() < 0.01  # where a value lies on the edge of a step


def test_outputs_are_nearer_than_without() -> None:
    moment, weight = correlated(128), torch.randn(64, 128)

    def error(packed: Tensor) -> float:
        e = packed - weight
        return float(((e @ moment) * e).sum())

    plain = error(searched(weight, 4, 32, moment.diagonal()).dequantised())
    made = Compensation(moment).round(weight, 4, 32)
    assert error(made.dequantised()) < 0.6 * plain


def test_inputs_that_are_not_correlated_leave_plain_rounding() -> None:
    weight = torch.randn(16, 64)
    made = Compensation(torch.eye(64)).round(weight, 4, 32)
    assert torch.equal(made.integers(), searched(weight, 4, 32, torch.ones(64)).integers())


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    moment, weight = correlated(64), torch.randn(16, 64)
    moment[:, 5] = moment[5] = 0
    moment[:, 40:] = moment[40:] = 0
    assert Compensation(moment).round(weight, 4, 32).dequantised().isfinite().all()
    nothing = Compensation(torch.zeros(64, 64)).round(weight, 4, 32)
    assert (nothing.dequantised() - weight).abs().max() < 0.5


def test_one_input_far_larger_than_all_others_does_no_harm() -> None:
    """Trained models have such channels; float32 cannot factor the moments as they are."""
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(2)) @ torch.randn(256, 256)
    x[:, 7] = 1e4 * x[:, 3]
    moment, weight = x.T @ x / len(x), torch.randn(16, 256)
    moment[100] = moment[:, 100] = moment[7] * 1.0001  # not even positive definite
    moment[100, 100] = moment[7, 7]
    assert Compensation(moment).round(weight, 4, 32).dequantised().isfinite().all()


def test_inputs_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(ConversionError, match="no finite numbers"):
        Compensation(torch.full((32, 32), torch.nan))


def test_moments_are_those_of_the_inputs_however_often_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny("llama")
    windows = [torch.arange(5, 45), torch.arange(100, 130)]
    seen: list[Tensor] = []
    name, layer = next(iter(linears(network).items()))
    layer.register_forward_pre_hook(lambda m, x: seen.append(x[0][0].detach()))
    whole = dict(moments(network, linears(network), windows))
    x = torch.cat(seen)
    assert torch.allclose(whole[name], x.T @ x / 70, atol=1e-5)
    monkeypatch.setattr("edgekit.quantize.feedback._MEMORY", 1)
    apart = dict(moments(network, linears(network), windows))
    assert list(apart) == list(whole)
    assert all(torch.allclose(apart[n], whole[n], atol=1e-5) for n in whole)
