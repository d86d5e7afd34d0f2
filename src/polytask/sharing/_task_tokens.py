"""A token a task, which looks at the tokens of the features."""

import math
from collections.abc import Sequence
from typing import cast, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import pad, scaled_dot_product_attention

from polytask.errors import ConfigError, message, nearest
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._chain import check_chain
from polytask.sharing._mlps import MLPs

_SEES = ("none", "chain", "all")


@final
class TaskTokens(Sharing):
    """A transformer over tokens of features and one learned token a task; a mask says which task tokens see each other.

    `s_0 = [tokens(x); e_1 ... e_k]`, `s' = s + attention(norm(s), mask)`, `s'' = s' + mlp(norm(s'))`, block upon block;
    `z_k` is the norm of task k's token after the last. Feature tokens see feature tokens; a task's token sees them, itself,
    and those other tasks that `sees` allows.

    Prefer it for many tasks, where a token a task is the cheapest thing that is a task's own, and for encoders that give a
    sequence (fields, words, events): each task attends to the parts that it needs. Not for two or three tasks on a wide table:
    there an MMoE is as good for a fraction of the time.

    Cost: `num_blocks` transformer blocks over `num_tokens + k` tokens; attention grows with the square of that, little in the
    last block, which computes task tokens only. What is private to a task is its token: `width` numbers.

    Source: the task tokens and task-to-task mask of MultiTab-Net, on the pre-norm block of FT-Transformer (Gorishniy et al.,
    NeurIPS 2021).

    Differs: feature tokens never see task tokens, so that with `sees="none"` a task's result does not depend on which other
    tasks there are; MultiTab-Net lets them. No attention between rows. Every task reads the same features, so gradients of
    tasks do not meet at the junction, which is the task tokens at the end: a balancer that measures them should do so at the
    shared parameters.

    Args:
        in_features: Width d of the representation, or of each token of a sequence, that comes in.
        tasks: Names of the k tasks.
        num_tokens: Feature tokens made of the representation (`n d`) by one linear layer. 0: the encoder gives tokens itself
            (`n t d`, any t, with what tells their places), each of which goes through the same linear layer.
        width: Width of a token; the `out_features`.
        num_blocks: Transformer blocks.
        num_heads: Heads of the attention; a divisor of `width`.
        hidden: Width of the hidden layer of a block's MLP.
        sees: Which other tasks' tokens a task's token sees: "none"; "chain", those before it in `chain`; "all".
        chain: Tasks from first to last; one that is left out sees none and is seen by none. () is all in the order given.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units dropped in training after the attention and in the MLP of each block.

    Raises:
        ConfigError: If a size, `sees`, `chain`, `activation` or `dropout` is not valid, or at the first batch, if the encoder
            gives another number of dimensions than `num_tokens` asks for.

    Example:
        >>> TaskTokens(5, ["click", "buy"], width=16)(torch.zeros(3, 5)).outputs.shape
        torch.Size([2, 3, 16])
        >>> TaskTokens(5, ["click", "buy"], width=16, num_tokens=0)(torch.zeros(3, 7, 5)).outputs.shape
        torch.Size([2, 3, 16])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        num_tokens: int = 8,
        width: int = 64,
        num_blocks: int = 2,
        num_heads: int = 4,
        hidden: int = 128,
        sees: str = "none",
        chain: Sequence[str] = (),
        activation: str = "gelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        _check(num_tokens, width, num_blocks, num_heads)
        looks = _looks(self.tasks, sees, chain)
        self.num_tokens, self.out_features = num_tokens, width
        self.tokenise = nn.Linear(in_features, width * max(num_tokens, 1))
        seen = {other for others in looks.values() for other in others}
        tokens = {task: _Token(width) for task in self.tasks}
        self.own_tokens = PerTask({task: token for task, token in tokens.items() if task not in seen})
        self.seen_tokens = PerTask({task: token for task, token in tokens.items() if task in seen}, private=False)
        self.blocks = nn.ModuleList(_Block(width, num_heads, hidden, activation, dropout) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)
        visible = torch.tensor([[other == task or other in looks[task] for other in self.tasks] for task in self.tasks])
        self.register_buffer("visible", visible, persistent=False)
        self.visible: Tensor

    def forward(self, x: Float[Tensor, "n *t d"]) -> Shared:
        """Gives each task its token after the last block."""
        features = self._features(x)
        tokens = torch.stack([self._token(task) for task in self.tasks]).to(features.dtype)
        num_features = features.shape[1]
        stream = torch.cat([features, tokens.expand(features.shape[0], -1, -1)], dim=1)
        # Row by row, who sees whom: features all features and no task; tasks all features, and each other as declared.
        mask = pad(pad(self.visible, (0, 0, num_features, 0), value=False), (num_features, 0), value=True)
        for block in self.blocks[:-1]:
            stream = block(stream, 0, mask)
        outputs = self.norm(self.blocks[-1](stream, num_features, mask)).transpose(0, 1)  # only task tokens are read
        return Shared(outputs, (outputs,))

    def _token(self, task: str) -> Tensor:
        owner = self.own_tokens if task in self.own_tokens.names else self.seen_tokens
        return cast("_Token", owner.of(task)).vector

    def _features(self, x: Tensor) -> Float[Tensor, "n t w"]:
        if x.dim() != (2 if self.num_tokens else 3):
            expected = "a representation a row, `n d`" if self.num_tokens else "tokens, `n t d`"
            way_out = "num_tokens=0 is for encoders that give tokens, any other number for those that give one vector a row."
            received = f"{tuple(x.shape)} with num_tokens={self.num_tokens}"
            raise ConfigError(message(f"The encoder should give {expected}.", received=received, way_out=way_out))
        tokens: Tensor = self.tokenise(x)
        return tokens.view(-1, self.num_tokens, self.out_features) if self.num_tokens else tokens


class _Token(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(nn.init.uniform_(torch.empty(width), -1 / math.sqrt(width), 1 / math.sqrt(width)))


class _Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, width: int, num_heads: int, hidden: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = MLPs(1, width, (hidden, width), activation=activation, dropout=dropout, linear_last=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, stream: Float[Tensor, "n t w"], first: int, mask: Bool[Tensor, "t t"]) -> Float[Tensor, "n q w"]:
        """What the tokens from `first` on become; row q of `mask` says which tokens token q sees."""
        normed = self.attention_norm(stream)
        parts = (self.query(normed[:, first:]), *self.key_value(normed).chunk(2, dim=-1))
        query, key, value = (part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        attended = _attention(query, key, value, mask[first:]).transpose(1, 2).flatten(2)
        stream = stream[:, first:] + self.dropout(self.out(attended))
        added: Tensor = self.mlp(self.mlp_norm(stream).flatten(0, 1))
        return stream + added.view_as(stream)


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """One fused kernel; under `vmap` plain products, for that kernel has no batching rule on a CPU."""
    if not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(query):
        with sdpa_kernel(SDPBackend.MATH):
            return scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return scaled_dot_product_attention(query, key, value, attn_mask=mask)


def _looks(tasks: Sequence[str], sees: str, chain: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The other tasks that each task's token sees."""
    if sees not in _SEES:
        raise ConfigError(message("Unknown mask between task tokens.", received=repr(sees), way_out=nearest(sees, _SEES)))
    if chain and sees != "chain":
        way_out = 'Say sees="chain", or leave the chain out.'
        raise ConfigError(message("A chain is for tokens that see along it.", received=f"sees={sees!r}", way_out=way_out))
    if sees == "chain":
        whole = check_chain(chain, tasks)
        return {task: whole[: whole.index(task)] if task in whole else () for task in tasks}
    return {task: tuple(other for other in tasks if other != task) if sees == "all" else () for task in tasks}


def _check(num_tokens: int, width: int, num_blocks: int, num_heads: int) -> None:
    if num_tokens < 0 or num_blocks < 1:
        received = f"num_tokens={num_tokens}, num_blocks={num_blocks}"
        way_out = "num_tokens=0 is for encoders that give tokens."
        raise ConfigError(message("Tokens and blocks are counted from 0 and from 1.", received=received, way_out=way_out))
    if num_heads < 1 or width < 1 or width % num_heads:
        received = f"width={width}, num_heads={num_heads}"
        raise ConfigError(message("Heads share a token evenly.", received=received, way_out="Such as width=64, num_heads=4."))
