"""SiaNet: the small siamese network by which SPGAN keeps a translated person recognisable.

Deng, Zheng, Ye, Kang, Yang, Jiao, "Image-Image Domain Adaptation with Preserved Self-Similarity and
Domain-Dissimilarity for Person Re-identification", CVPR 2018. Its contrastive loss compares
embeddings of length 1; their distance lies in [0, 2].
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jaxreid.nets.heads import dense
from jaxreid.nets.layers import Conv, Init, torch_default
from jaxreid.nets.pooling import unit


class SiaNet(nn.Module):
    """Images to embeddings of length 1: blocks of [conv 4x4 /2, LeakyReLU, max pool /2], then FC.

    The defaults are the authors' PyTorch code, made for 256x128. Their TensorFlow code has
    `blocks=4, fc_bias=True, initializer=xavier_uniform(), floor=1e-12`; the paper has `blocks=4,
    units=(128,), fc_bias=True`; both take 256x256. There is no norm layer.

    Attributes:
        width: channels of the first block; they double from block to block.
        blocks: each divides the sides by 4, so 64x32 takes at most 2.
        units: of the linear layers; LeakyReLU and dropout stand between them.
        fc_bias: whether linear layers have biases.
        dropout: share of the units dropped, always: the published codes never stop. The key is
            passed as `rngs={'dropout': key}`; `net.clone(dropout=0.0)` embeds without chance.
        initializer: of all layers.
        floor: the least squared length that is divided by: 1e-24 in PyTorch, 1e-12 in TensorFlow.
        dtype: type of the computation; the embeddings are float32.
    """

    width: int = 64
    blocks: int = 3
    units: tuple[int, ...] = (128, 64)
    fc_bias: bool = False
    dropout: float = 0.5
    initializer: Init = torch_default()
    floor: float = 1e-24
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] in [-1,1] to [B,D] with rows of length 1; `train` changes nothing.

        Raises:
            ValueError: if the blocks would leave no pixel.
        """
        del train
        self._require(images)
        x = images
        for block in range(self.blocks):
            width, name = self.width * 2**block, f"conv{block + 1}"
            x = Conv(width, 4, 2, 1, initializer=self.initializer, dtype=self.dtype, name=name)(x)
            x = nn.max_pool(nn.leaky_relu(x, 0.2), (2, 2), (2, 2))
        x = x.reshape(len(x), -1)
        for layer, units in enumerate(self.units, start=1):
            if layer > 1:
                x = nn.Dropout(self.dropout, deterministic=False)(nn.leaky_relu(x, 0.2))
            options = {"use_bias": self.fc_bias, "dtype": self.dtype}
            x = dense(units, self.initializer, f"fc{layer}", x, **options)
        return unit(x.astype(jnp.float32), self.floor)

    def _require(self, images: jax.Array) -> None:
        rows, columns = images.shape[1:3]
        least = 4**self.blocks
        if min(rows, columns) < least:
            most = (min(rows, columns).bit_length() - 1) // 2
            raise ValueError(
                f"SiaNet of {self.blocks} blocks needs images of at least {least}x{least}, but "
                f"they are {rows}x{columns}: set blocks={most}, or enlarge the images."
            )
