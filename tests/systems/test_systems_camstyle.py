"""CamStyle: the loss by hand, and what is refused before work starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxreid.systems.camstyle import camstyle_loss

LOGITS = np.array([1.0, 2.0, 0.5])


@pytest.mark.parametrize(("epsilon", "fake"), [(0.1, 0.547702), (0.0, 0.464369)])
@pytest.mark.parametrize("copies", [1, 3])
def test_real_and_translated_images_have_a_mean_and_a_pass_of_their_own(epsilon, fake, copies):
    batch = {
        "image": jnp.zeros((2, 1)),
        "label": jnp.array([1, 1]),
        "generated_image": jnp.ones((copies, 1)),
        "generated_label": jnp.full(copies, 1),
    }
    seen, keys = [], []

    def forward(stats, images, key):
        seen.append(images.tolist())
        keys.append(jax.random.key_data(key).tolist())
        return {"logits": jnp.tile(LOGITS, (len(images), 1))}, stats + 1

    terms, stats = camstyle_loss(forward, 0, batch, jax.random.key(0), epsilon=epsilon)
    assert seen == [[[0.0]] * 2, [[1.0]] * copies] and stats == 2 and keys[0] != keys[1]
    found = {name: float(value) for name, value in terms.items()}
    assert found == pytest.approx({"real": 0.464369, "fake": fake}, abs=1e-6)


def test_a_step_without_translated_images_is_refused_before_anything_is_trained(tmp_path):
    done = tiny.launch("camstyle", tmp_path, "--config.reid.generated_batch=0")
    assert done.returncode == 1 and "reid.generated_batch is 0" in done.stderr
    assert not (tmp_path / "world").exists()
