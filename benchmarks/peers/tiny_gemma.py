"""The race's Gemma2 as a Tunix model with random weights."""

import jax
from flax import nnx
from tunix.models.gemma import model as gemma

from benchmarks.peers.generation import Size
from benchmarks.peers.work import WORK, Work

SPREAD = 0.02  # standard deviation of every drawn weight, as Hugging Face's Gemma2 draws them


def config(size: Work | Size = WORK) -> gemma.ModelConfig:
    kinds = (gemma.AttentionType.LOCAL_SLIDING, gemma.AttentionType.GLOBAL)
    return gemma.ModelConfig(
        num_layers=size.layers,
        num_embed=size.vocabulary,
        embed_dim=size.embed_dim,
        hidden_dim=size.hidden_dim,
        num_heads=size.heads,
        num_kv_heads=size.kv_heads,
        head_dim=size.head_dim,
        final_logit_softcap=30.0,
        attn_logits_soft_cap=50.0,
        use_post_attn_norm=True,
        use_post_ffw_norm=True,
        attention_types=tuple(kinds[i % 2] for i in range(size.layers)),
        sliding_window_size=WORK.sliding_window,
        remat_config=gemma.RematConfig.NONE,
    )


def build(mesh: jax.sharding.Mesh, seed: int) -> gemma.Gemma:
    """A float32 model on `mesh`. All matrices are drawn anew: Tunix leaves the feed-forward
    kernels at zero for weights that are loaded later, and zeros would stay without gradient."""

    def init() -> gemma.Gemma:
        model = gemma.Gemma(config(), rngs=nnx.Rngs(params=seed))
        key = jax.random.key(seed + 1)
        drawn = []
        for i, (path, leaf) in enumerate(nnx.to_flat_state(nnx.state(model))):
            if path[-1] != "scale":
                shape, dtype = leaf[...].shape, leaf[...].dtype
                noise = jax.random.normal(jax.random.fold_in(key, i), shape, dtype)
                leaf = leaf.replace(SPREAD * noise)
            drawn.append((path, leaf))
        state = nnx.from_flat_state(drawn)
        placed = jax.lax.with_sharding_constraint(state, nnx.get_named_sharding(state, mesh))
        nnx.update(model, placed)
        return model

    with mesh:
        return nnx.jit(init)()
