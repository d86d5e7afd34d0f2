"""All categories of a table in one fused embedding table, of which a step touches only what it needs."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polytask.batch import Ragged
from polytask.encoders._bags import POOLINGS, Bags, as_bags, pooled
from polytask.encoders._lookup import Lookup, look_up, transformed
from polytask.encoders._pages import huge_pages
from polytask.errors import ConfigError, DataError, message


@final
class EmbeddingTable(nn.Module):
    """One table for all categorical fields: field j owns `sizes[j]` of its rows.

    Formula: `out = [E[o_0 + i_0], ..., E[o_c + i_c], pool(bag_1), ...]` with `o` the running sum of `sizes`;
    a bag is pooled to `sum w E[i]`, that divided by `sum |w|`, or the largest `w E[i]` of each entry; an empty bag is zero.

    Prefer it wherever there are categories, also few: one-hot columns in front of a linear layer are an embedding. All fields
    have one width; a field that needs less learns a subspace.
    Cost: the gradient is a sparse tensor of the touched rows, each once; nothing in a step grows with the number of rows. On
    a GPU the number of touched rows is read by the host once a step.
    Differs: `nn.Embedding(sparse=True)` gives one entry a lookup, repeated rows included.

    Args:
        sizes: Number of categories of each field: the single-valued ones first, then those pooled.
        dim: Width of an embedding.
        poolings: "mean", "sum" or "max" for each of the last fields, which are multi-valued.
        names: Names of the fields, for messages.
        scale: Standard deviation of the initial values.

    Raises:
        ConfigError: If a size or the width is not positive, or a pooling is unknown.

    Example:
        >>> from polytask.encoders import touched_rows
        >>> table = EmbeddingTable([3, 4], 2)
        >>> table(torch.tensor([[0, 3], [2, 1]], dtype=torch.int32)).shape
        torch.Size([2, 4])
        >>> table(torch.tensor([[0, 3], [2, 3]])).sum().backward()
        >>> touched_rows(table.weight.grad)[0].tolist()
        [0, 2, 6]
    """

    offsets: Tensor
    _limits: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        poolings: Sequence[str] = (),
        names: Sequence[str] = (),
        scale: float = 0.05,
    ) -> None:
        super().__init__()
        if not sizes or min(*sizes, dim) < 1 or len(poolings) > len(sizes):
            received = f"sizes {list(sizes)}, dim {dim}, {len(poolings)} poolings"
            raise ConfigError(message("An embedding table needs positive sizes and a positive width.", received=received))
        for pooling in poolings:
            if pooling not in POOLINGS:
                raise ConfigError(message(f"A pooling is one of {', '.join(POOLINGS)}.", received=repr(pooling)))
        self.sizes, self.dim, self.poolings = tuple(sizes), dim, tuple(poolings)
        self.names = tuple(names) or tuple(f"field {j}" for j in range(len(sizes)))
        self.num_single = len(sizes) - len(poolings)
        self.out_features = dim * len(sizes)
        total = sum(sizes)
        index = torch.int32 if total < 2**31 else torch.int64  # half the bytes to sort and to look up
        starts = torch.tensor([0, *sizes[:-1]], dtype=torch.int64).cumsum(0).to(index)
        self.register_buffer("offsets", starts, persistent=False)
        self.register_buffer("_limits", torch.tensor(self.sizes, dtype=index), persistent=False)
        self.weight = nn.Parameter(huge_pages(torch.empty(total, dim)).normal_(std=scale))

    def forward(self, ids: Int[Tensor, "n c"], bags: Sequence[Ragged] = ()) -> Float[Tensor, "n d"]:
        """Embeddings of n rows, field after field.

        Args:
            ids: Category of each single-valued field, local to its field.
            bags: Values of each multi-valued field.

        Raises:
            DataError: On the CPU, if an id is outside its field; names field and id.
        """
        if ids.device.type == "cpu" and not torch.compiler.is_compiling() and not transformed():
            self._check(ids, bags)
        n, c = ids.shape
        rows = (ids + self.offsets[:c]).flatten().to(self.offsets.dtype)
        lookup = Lookup(rows, torch.arange(n * c + 1, dtype=rows.dtype, device=rows.device))
        if not bags:
            return look_up(self.weight, lookup).view(n, c * self.dim)
        fields = [as_bags(bag, pooling) for bag, pooling in zip(bags, self.poolings, strict=True)]
        out = look_up(self.weight, self._joined(lookup, bags, fields))
        single, *rest = torch.split(out, [n * c, *(field.ends.numel() for field in fields)])
        parts = [pooled(*args) for args in zip(rest, bags, self.poolings, strict=True)]
        return torch.cat([single.view(n, c * self.dim), *parts], dim=1)

    def _joined(self, single: Lookup, bags: Sequence[Ragged], fields: Sequence[Bags]) -> Lookup:
        """All fields in one lookup: one sort, one sum and one sparse gradient for all."""
        rows, ends, owners = [single.rows], [single.offsets], [single.offsets[:-1]]
        weights = [torch.ones(single.rows.shape, device=single.rows.device)]
        num_values = num_bags = single.rows.numel()
        for offset, bag, field in zip(self.offsets[self.num_single :], bags, fields, strict=True):
            rows.append((bag.ids + offset).to(self.offsets.dtype))
            ends.append((field.ends + num_values).to(self.offsets.dtype))
            owners.append((field.owners + num_bags).to(self.offsets.dtype))
            weights.append(field.weights)
            num_values, num_bags = num_values + bag.ids.numel(), num_bags + field.ends.numel()
        return Lookup(torch.cat(rows), torch.cat(ends), torch.cat(owners), torch.cat(weights))

    def _check(self, ids: Tensor, bags: Sequence[Ragged]) -> None:
        if ids.shape[1] != self.num_single or len(bags) != len(self.poolings):
            expected = f"The table was built for {self.num_single} single-valued and {len(self.poolings)} multi-valued fields."
            raise DataError(message(expected, received=f"{ids.shape[1]} and {len(bags)}"))
        if ids.numel() and bool(((ids.amax(0) >= self._limits[: self.num_single]) | (ids.amin(0) < 0)).any()):
            wrong = (ids < 0) | (ids >= self._limits[: self.num_single])
            row, field = (int(i) for i in wrong.nonzero()[0])
            self._refuse(field, int(ids[row, field]), f" in row {row} of the batch")
        for field, bag in enumerate(bags, start=self.num_single):
            if bag.ids.numel() and (int(bag.ids.max()) >= self.sizes[field] or int(bag.ids.min()) < 0):
                wrong = (bag.ids < 0) | (bag.ids >= self.sizes[field])
                self._refuse(field, int(bag.ids[wrong][0]))

    def _refuse(self, field: int, value: int, place: str = "") -> None:
        expected = f"Ids of {self.names[field]!r} are from 0 to {self.sizes[field] - 1}."
        raise DataError(message(expected, received=f"{value}{place}", way_out="Encode the rows with the fitted preprocessing."))
