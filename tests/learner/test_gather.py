"""Split weights: values and gradients are those of whole ones, whatever the layers differ in."""

from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding

from configs.schema import LearnerSection
from learner.policy.gather import _period
from learner.policy.lora import over
from learner.policy.sharding import make_mesh
from tests.learner.test_families import model_and_params
from tests.learner.test_lora import SECTION, loss_of, random_adapter


def test_periods_of_layers():
    local, everywhere = (3, None, None), (None, None, None)
    assert _period([everywhere] * 4) == 1
    assert _period([local, everywhere] * 3) == 2
    assert _period([local, local, everywhere, local]) == 4


# Gemma3's layers rotate in two ways; an adapter makes each of Gemma2's layers one of its own
@pytest.mark.parametrize(("case", "adapted"), [("gemma3", False), ("gemma2", True)])
def test_split_weights_do_not_change_values_and_gradients(case, adapted):
    model, base = model_and_params(case)
    mesh = make_mesh(LearnerSection(fsdp=2, tp=2))
    specs = model.partition_specs()
    placed = {name: jax.device_put(x, NamedSharding(mesh, specs[name])) for name, x in base.items()}
    adapter = random_adapter(model.architecture) if adapted else {}

    def loss(mesh, trained, base):
        return loss_of(model, over(base, trained, SECTION), mesh)

    (whole, expected), (split, ours) = (
        jax.jit(jax.value_and_grad(partial(loss, mesh)))(adapter or params, params)
        for mesh, params in ((None, base), (mesh, placed))
    )
    assert abs(float(split) - float(whole)) < 1e-5
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-5, err_msg=name)
