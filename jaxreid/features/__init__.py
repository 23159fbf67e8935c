"""Hand-crafted features of person images.

NumPy on the host in float64: no network, no device, no random choice.
"""

from jaxreid.features.hog import hog
from jaxreid.features.lomo import lomo

__all__ = ["hog", "lomo"]
