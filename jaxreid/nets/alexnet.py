"""Two-stream AlexNet with a shared embedding, for visible and thermal images.

Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
NIPS 2012, doubled as in Ye, Wang, Lan, Yuen, "Visible Thermal Person Re-Identification via
Dual-Constrained Top-Ranking", IJCAI 2018 (BDTR), which CE2L adopts.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.typing import Dtype

from jaxreid.nets.heads import Embedding, dense
from jaxreid.nets.layers import Conv, Init, batch_norm, kaiming_fan_out
from jaxreid.nets.pooling import unit
from jaxreid.nets.resnet import imagenet_normalise

BGR_MEANS = {  # subtracted from the channels blue, green, red
    "correct": (103.939, 116.779, 123.68),
    "as_code": (123.68, 116.779, 103.939),
}
NORM_EPSILON = 1e-3
AFTER_FC6 = ("norm", "relu")


def local_response_norm(
    x: jax.Array, radius: int = 2, alpha: float = 2e-5, beta: float = 0.75
) -> jax.Array:
    """Divides [B,H,W,C] by (1 + alpha * sum of x^2 over `radius` channels on either side)^beta.

    This is TensorFlow's form, where alpha is not divided by the window; PyTorch and Caffe call it
    `size=5, alpha=1e-4`. Computed in float32.
    """
    squares = jnp.square(jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32)))
    window, pads = (1, 1, 1, 2 * radius + 1), ((0, 0), (0, 0), (0, 0), (radius, radius))
    sums = jax.lax.reduce_window(squares, 0.0, jax.lax.add, window, (1, 1, 1, 1), pads)
    return (x * (1 + alpha * sums) ** -beta).astype(x.dtype)


def bgr_normalise(images: jax.Array, mean_order: str = "correct") -> jax.Array:
    """RGB images in [-1,1] to BGR in 0..255 minus the mean colour, what Caffe's AlexNet expects.

    `as_code` takes the mean in RGB order, as BDTR's code does.
    """
    return (images[..., ::-1] + 1) * 127.5 - jnp.asarray(BGR_MEANS[mean_order])


class Stream(nn.Module):
    """What one modality has for itself: convolutions, fc6, and a norm or a ReLU after it.

    The attributes are those of `TwoStream`.
    """

    stack: str
    width: int
    hidden: int
    fc6: str
    decay: float
    fc6_bn_eval: str
    mean_order: str
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] in [-1,1] to [B,hidden]."""
        x = self._alexnet(images) if self.stack == "alexnet" else self._small(images, train)
        x = x.reshape(len(x), -1)
        x = dense(self.hidden, kaiming_fan_out(), "fc6", x, dtype=self.dtype)
        return {"norm": self._norm, "relu": lambda x, train: nn.relu(x)}[self.fc6](x, train)

    def _norm(self, x: jax.Array, train: bool) -> jax.Array:
        """TensorFlow's default batch norm: an offset, no scale."""
        offset = self.param("fc6_offset", initializers.zeros, x.shape[-1:], jnp.float32)
        running = {"running": True, "batch": False}[self.fc6_bn_eval]
        if train or running or self.is_initializing():
            norm = batch_norm(
                train,
                "fc6_bn",
                self.dtype,
                use_bias=False,
                use_scale=False,
                momentum=self.decay,
                epsilon=NORM_EPSILON,
            )
            x = norm(x)
        else:
            y = x.astype(offset.dtype)
            x = ((y - y.mean(0)) * jax.lax.rsqrt(y.var(0) + NORM_EPSILON)).astype(x.dtype)
        return x + offset.astype(x.dtype)

    def _alexnet(self, images: jax.Array) -> jax.Array:
        if images.shape[1:3] != (227, 227):
            raise ValueError(
                f"AlexNet takes 227x227 images, not {images.shape[1]}x{images.shape[2]}: resize "
                "to 256x256 and crop 227x227 for training, resize to 227x227 for retrieval, or "
                "use stack='small', which takes any size."
            )
        x = bgr_normalise(images, self.mean_order)
        two_thirds = self.width * 8 // 3  # 256 of AlexNet's 96
        x = self._conv(x, "conv1", self.width, 11, stride=4)
        x = local_response_norm(_pool(x))
        x = self._conv(x, "conv2", two_thirds, 5, padding=2, groups=2)
        x = local_response_norm(_pool(x))
        x = self._conv(x, "conv3", self.width * 4, 3, padding=1)
        x = self._conv(x, "conv4", self.width * 4, 3, padding=1, groups=2)
        return _pool(self._conv(x, "conv5", two_thirds, 3, padding=1, groups=2))

    def _small(self, images: jax.Array, train: bool) -> jax.Array:
        x = imagenet_normalise(images)
        for i, factor in enumerate((1, 2, 4, 4), start=1):
            x = self._conv(x, f"conv{i}", factor * self.width, 3, stride=2, padding=1)
            x = batch_norm(train, f"bn{i}", self.dtype)(x)
        return x

    def _conv(self, x: jax.Array, name: str, features: int, size: int, **options) -> jax.Array:
        layer = Conv(
            features, size, initializer=kaiming_fan_out(), dtype=self.dtype, name=name, **options
        )
        return nn.relu(layer(x))


class TwoStream(nn.Module):
    """One stream per modality, then shared: dropout, ReLU, fc7 with ReLU (the embedding), fc8.

    'alexnet': conv 11x11/4 96, pool, LRN; conv 5x5 256, pool, LRN; conv 3x3 384, 384, 256, pool;
    fc6 4096; convolutions 2, 4 and 5 in two groups; pools 3x3/2 without padding. 84,588,494
    parameters for 206 identities. Convolutions and fc6 start N(0, sqrt(2 / fan_out)) unless
    ImageNet weights are put in.

    Attributes:
        classes: identities K.
        stack: 'alexnet' (227x227 images) or 'small' (four 3x3 convolutions of stride 2, with the
            batch norms that training from scratch needs).
        width: channels of the first convolution: 96, or 16 for the small stack.
        hidden: units of fc6 (4096).
        embedding: units of fc7 (1024).
        dropout: share of units dropped before fc7 and before fc8 when training.
        fc6: what follows fc6 in each stream: 'norm' (BDTR) or 'relu' (TONE, whose fc7 has 2048
            units).
        decay: share of the old value in the norm's running statistics; 0.9 suits short runs.
        fc6_bn_eval: 'running' statistics outside training, or 'batch' as BDTR's code: then an
            embedding depends on the other images of its batch.
        mean_order: 'correct' or 'as_code': see `bgr_normalise`; the small stack has no use for it.
        dtype: type of the computation.
    """

    classes: int
    stack: str = "alexnet"
    width: int = 96
    hidden: int = 4096
    embedding: int = 1024
    dropout: float = 0.5
    fc6: str = "norm"
    decay: float = 0.999
    fc6_bn_eval: str = "running"
    mean_order: str = "correct"
    dtype: Dtype | None = None

    def setup(self) -> None:
        """One stream per modality and the two shared layers."""
        options = (
            self.stack,
            self.width,
            self.hidden,
            self.fc6,
            self.decay,
            self.fc6_bn_eval,
            self.mean_order,
            self.dtype,
        )
        self.visible, self.thermal = Stream(*options), Stream(*options)
        init = Init(initializers.variance_scaling(1.0, "fan_in", "uniform"))
        self.fc7 = nn.Dense(self.embedding, kernel_init=init.kernel, dtype=self.dtype)
        self.fc8 = nn.Dense(self.classes, kernel_init=init.kernel, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, visible: jax.Array, thermal: jax.Array, train: bool = False) -> Embedding:
        """Maps [V,H,W,3] and [T,H,W,3] to logits, metric and test of V + T rows, visible first.

        `metric` is fc7 as it is (the ranking losses normalise it), `test` has unit length.
        """
        joined = [self.visible(visible, train), self.thermal(thermal, train)]
        return self._top(jnp.concatenate(joined), train)

    def embed(self, images: jax.Array, modality: str, train: bool = False) -> Embedding:
        """The same for images of one modality: `net.apply(v, x, 'thermal', method='embed')`."""
        streams = {"visible": self.visible, "thermal": self.thermal}
        return self._top(streams[modality](images, train), train)

    def _top(self, x: jax.Array, train: bool) -> Embedding:
        x = nn.relu(self.drop(x, deterministic=not train))
        embedding = nn.relu(self.fc7(x))
        logits = self.fc8(self.drop(embedding, deterministic=not train)).astype(jnp.float32)
        embedding = embedding.astype(jnp.float32)
        return Embedding(logits=logits, metric=embedding, test=unit(embedding))


def small(classes: int, **options) -> TwoStream:
    """The two streams at demo size, for images of about 64x32."""
    sizes = {"stack": "small", "width": 16, "hidden": 128, "embedding": 64, "decay": 0.9}
    return TwoStream(classes, **{**sizes, **options})


def _pool(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), (2, 2), "VALID")
