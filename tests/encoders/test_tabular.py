from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from polytask.batch import Features, Ragged
from polytask.data import Categorical, MultiValued, Numeric, Preprocessing, Schema, open_table
from polytask.encoders import ENCODERS, NUMERIC_EMBEDDINGS, Tabular
from polytask.errors import ConfigError
from polytask.tasks import Binary

CATEGORICAL = (SimpleNamespace(name="city", size=7), SimpleNamespace(name="device", size=3))
NUMERIC = (
    SimpleNamespace(name="age", edges=(-1.0, 0.0, 2.0)),
    SimpleNamespace(name="gains", edges=()),
    SimpleNamespace(name="hours", edges=(0.0, 1.0)),
)
MULTI_VALUED = (SimpleNamespace(name="genres", size=5, pooling="mean"),)


def fields(categorical=CATEGORICAL, numeric=NUMERIC, multi_valued=MULTI_VALUED):
    return SimpleNamespace(categorical=categorical, numeric=numeric, multi_valued=multi_valued)


def features(n=4):
    generator = torch.Generator().manual_seed(0)
    numeric = torch.randn(n, 3, generator=generator)
    numeric[1, 0] = float("nan")
    categorical = torch.randint(0, 3, (n, 2), generator=generator, dtype=torch.int32)
    bags = Ragged(torch.arange(n, dtype=torch.int32) % 5, torch.arange(n + 1))
    return Features(categorical, numeric, {"genres": bags})


@pytest.mark.parametrize("numeric", sorted(NUMERIC_EMBEDDINGS))
def test_all_columns_stand_side_by_side(numeric):
    encoder = Tabular(fields(), embedding_dim=4, numeric_dim=2, numeric=numeric)
    out = encoder(features())
    assert out.shape == (4, encoder.out_features) == (4, 3 * 4 + 3 * 2)
    assert out.is_contiguous()
    x = features()
    assert torch.equal(out[:, :12], encoder.table(x.categorical, [x.ragged["genres"]]))
    for field in range(3):
        assert torch.equal(out[:, 12 + 2 * field : 14 + 2 * field], encoder.numeric(x.numeric)[field])


@pytest.mark.parametrize(
    ("kept", "width"),
    [({"numeric": ()}, 12), ({"categorical": (), "multi_valued": ()}, 6), ({"categorical": (), "numeric": ()}, 4)],
)
def test_a_table_may_lack_a_kind_of_column(kept, width):
    encoder = Tabular(fields(**kept), embedding_dim=4, numeric_dim=2)
    x = features()
    x = x._replace(categorical=x.categorical[:, : len(kept.get("categorical", CATEGORICAL))])
    assert encoder(x).shape == (4, width) == (4, encoder.out_features)


def test_a_wide_representation_is_filled_up_with_zeros():
    encoder = Tabular(fields(), embedding_dim=23, numeric_dim=2)
    out = encoder(features())
    assert out.shape == (4, encoder.out_features) == (4, 80)
    assert not out[:, 3 * 23 + 3 * 2 :].any()
    assert out[:, : 3 * 23 + 3 * 2].any(0).all()


def test_dropout_is_for_training():
    encoder = Tabular(fields(), dropout=0.5)
    assert (encoder(features()) == 0).float().mean() > 0.4
    assert (encoder.eval()(features()) == 0).float().mean() < 0.1


def test_mistakes_have_a_way_out():
    with pytest.raises(ConfigError, match="Did you mean 'piecewise'"):
        Tabular(fields(), numeric="piecewize")
    with pytest.raises(ConfigError, match="at least one feature"):
        Tabular(fields((), (), ()))


def test_it_is_the_default():
    assert ENCODERS["tabular"] is Tabular


def test_low_precision_keeps_the_table_in_float32():
    encoder = Tabular(fields(), embedding_dim=4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = encoder(features()).square().sum()
    loss.backward()
    assert encoder.table.weight.grad.dtype == torch.float32
    assert encoder.numeric.weight.grad.dtype == torch.float32


def test_it_fits_what_preprocessing_makes_of_a_table():
    frame = pd.DataFrame(
        {
            "city": ["rome", "oslo", "rome", None] * 30,
            "gains": [0.0, 0.0, 5.0, None] * 30,
            "genres": [["a", "b"], [], ["b"], ["a"]] * 30,
            "click": [0, 1] * 60,
        }
    )
    table = open_table(frame)
    schema = Schema((Categorical("city"), Numeric("gains"), MultiValued("genres", pooling="max")))
    preprocessing = Preprocessing.fit(table, schema, [Binary("click")])
    columns = preprocessing.encode(next(table.batches()))
    encoder = Tabular(preprocessing, embedding_dim=4, numeric_dim=3)
    out = encoder(columns.to_batch(preprocessing.tasks).features)
    assert out.shape == (120, 11) == (120, encoder.out_features)
    assert torch.isfinite(out).all()
    assert torch.equal(out[1, 4:8], torch.zeros(4))  # a row without genres
    assert not torch.equal(out[0], out[2])
    assert torch.equal(out[:4], out[4:8])


def test_embeddings_start_at_their_scale():
    torch.manual_seed(0)
    many = (SimpleNamespace(name="user", size=5000),)
    for scale in (0.05, 0.001):
        encoder = Tabular(fields(many, (), ()), embedding_scale=scale)
        assert encoder.table.weight.std().item() == pytest.approx(scale, rel=0.02)
