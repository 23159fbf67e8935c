"""Hand-crafted features of person images, and projections learned upon features of any kind.

NumPy on the host in float64: no network, no device, no random choice. `hog` and `lomo` turn images
into vectors; `xqda.learn` and `hcml.learn` turn labelled vectors of two modalities (or cameras)
into `Projections`, after which the Euclidean distance is the learned one.
"""

from jaxreid.features import hcml, xqda
from jaxreid.features.hog import hog
from jaxreid.features.lomo import lomo
from jaxreid.features.projections import Projections, project

__all__ = ["Projections", "hcml", "hog", "lomo", "project", "xqda"]
