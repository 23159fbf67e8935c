"""The synthetic world: real human bodies, seen by cameras that differ, in an official layout.

``write(Spec(...), root)`` makes a data set that the ordinary loaders read; ``restyle`` gives the
oracle translation of its pictures into another camera, here or in another city, ``convert`` that
between visible and infrared, ``truth`` their masks and keypoints, ``outsiders`` pictures of people
who are not in it. The renderer's pieces are
pure functions: sample a person, ``dress`` it, sample a moment and a camera, then ``render``.
"""

from jaxreid.data.world.cameras import sample_camera
from jaxreid.data.world.cloud import load_body
from jaxreid.data.world.files import read_spec, write
from jaxreid.data.world.moments import sample_moment
from jaxreid.data.world.oracle import convert, outsiders, repose, restyle, truth
from jaxreid.data.world.people import sample_person
from jaxreid.data.world.planning import plan
from jaxreid.data.world.renderer import Picture, render, surfels_for
from jaxreid.data.world.spec import Spec
from jaxreid.data.world.wardrobe import dress

__all__ = [
    "Picture",
    "Spec",
    "convert",
    "dress",
    "load_body",
    "outsiders",
    "plan",
    "read_spec",
    "render",
    "repose",
    "restyle",
    "sample_camera",
    "sample_moment",
    "sample_person",
    "surfels_for",
    "truth",
    "write",
]
