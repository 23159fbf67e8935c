"""The specification of a synthetic world."""

from __future__ import annotations

import dataclasses
from typing import Any

FOLDERS = ("bounding_box_train", "bounding_box_test", "query")
TRAIN, GALLERY, QUERY = range(3)
# Streams keep the random keys of known people, distractors, junk boxes and people outside apart.
KNOWN, STRANGER, BAD_BOX, OUTSIDER = range(4)
MARKET, DUKE, REGDB, SYSU = LAYOUTS = ("market1501", "dukemtmc_reid", "regdb", "sysu_mm01")
VISIBLE, NEAR, THERMAL = "visible", "near", "thermal"

_USUAL: Any = None  # a field's default: what is usual in the layout, below
_MARKETS = {"cameras": 4, "cameras_per_identity": 2.0, "images_per_camera": 4.0}
_CROSSMODAL: dict[str, Any] = {"distractors": 0, "junk": 0}
_USUALLY: dict[str, dict[str, Any]] = {
    MARKET: {**_MARKETS, "distractors": 50, "junk": 50},
    DUKE: {**_MARKETS, "distractors": 50, "junk": 0},
    REGDB: {**_CROSSMODAL, "cameras": 2, "cameras_per_identity": 2.0, "images_per_camera": 10.0}
    | {"test_cameras_per_identity": None, "test_images_per_camera": None},
    SYSU: {**_CROSSMODAL, "cameras": 6, "cameras_per_identity": 6.0, "images_per_camera": 20.0},
}
# What a layout does not leave open. RegDB's trials share people between training and test.
_TESTED_ALIKE = ("test_cameras_per_identity", "test_images_per_camera")
_FIXED = {
    REGDB: ("cameras", "cameras_per_identity", "distractors", "junk", *_TESTED_ALIKE),
    SYSU: ("cameras", "distractors", "junk"),
}
_MOST_PEOPLE = {REGDB: 999}  # its names have three digits


@dataclasses.dataclass(frozen=True)
class Spec:
    """One synthetic world; plain values only.

    Attributes:
        seed: everything is a pure function of it. Two cities of one seed show the same bodies in
            other clothes: for people who are strangers to each other, take two seeds.
        train_identities: people to train on; RegDB: in each of its ten trials; SYSU-MM01: a quarter
            of them are its validation people.
        test_identities: people to look for.
        cameras: number of cameras, 2 to 9, in DukeMTMC-reID's layout 2 to 8; None means 4, in
            RegDB's layout 2, in SYSU-MM01's 6, which have no other number.
        cameras_per_identity: mean number of cameras that see a training person, at least 1; None
            means 2, in SYSU-MM01's layout all 6 (at least one of either kind sees everybody).
        images_per_camera: mean pictures per (training person, camera); None means 4, in RegDB's
            layout exactly 10, in SYSU-MM01's 20.
        test_cameras_per_identity: the same for test people, at least 2; None means all cameras.
        test_images_per_camera: mean gallery pictures per (test person, camera), beside the one
            query; None means ``images_per_camera``.
        distractors: gallery boxes of strangers or empty street (pid 0). In DukeMTMC-reID's layout:
            people with pids of their own, in the gallery only, each seen by one camera in
            ``test_images_per_camera`` pictures on average. None means 50, or 0 in RegDB's and
            SYSU-MM01's layout, which have none.
        junk: badly placed gallery boxes (pid -1); None means 50 in Market-1501's layout, or 0 in
            the others, which have none.
        height: rows of a picture.
        width: columns of a picture.
        strength: how much the cameras' sensor responses differ; 0 is not at all.
        colourful: share of garments in a saturated colour; fewer make people more alike.
        city: 0 or 1; other streets, light and clothes, and cameras that hang higher.
        layout: of folders and file names, ``market1501``, ``dukemtmc_reid``, ``regdb`` (a visible
            and a thermal camera) or ``sysu_mm01`` (cameras 3 and 6 see near infrared).

    Raises:
        ValueError: the specification is impossible; the message names the field.
    """

    seed: int = 0
    train_identities: int = 100
    test_identities: int = 50
    cameras: int = _USUAL
    cameras_per_identity: float = _USUAL
    images_per_camera: float = _USUAL
    test_cameras_per_identity: float | None = None
    test_images_per_camera: float | None = None
    distractors: int = _USUAL
    junk: int = _USUAL
    height: int = 128
    width: int = 64
    strength: float = 0.5
    colourful: float = 0.2
    city: int = 0
    layout: str = MARKET

    def __post_init__(self) -> None:
        self._settle_layout()
        duke, people = self.layout == DUKE, _MOST_PEOPLE.get(self.layout, 9999)
        most = people - self.train_identities - self.test_identities
        ranges: dict[str, tuple[float, float]] = {
            "seed": (0, 2**31 - 1),
            "train_identities": (1 + (self.layout == SYSU), people - 1),
            "test_identities": (1, people - self.train_identities),
            "cameras": (2, 8 if duke else 9),
            "cameras_per_identity": (1 + (self.layout == SYSU), self.cameras),
            "images_per_camera": (1, 100),
            "test_cameras_per_identity": (2, self.cameras),
            "test_images_per_camera": (1, 100),
            "distractors": (0, most if duke else 100_000),
            "junk": (0, 100_000),
            "height": (16, 1024),
            "width": (8, 1024),
            "strength": (0, 4),
            "colourful": (0, 1),
            "city": (0, 1),
        }
        for field in dataclasses.fields(self):
            if field.name == "layout":
                continue
            value, (low, high) = getattr(self, field.name), ranges[field.name]
            if value is None and field.default is None:
                continue
            whole = str(field.type).startswith("int")
            if not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
                kind = "a whole number" if whole else "a number"
                raise ValueError(
                    f"Spec.{field.name} = {value!r} is impossible: "
                    f"give {kind} from {low} to {high}."
                )

    def _settle_layout(self) -> None:
        """Checks the layout, fills in what is usual there, and refuses what it does not have."""
        if self.layout not in LAYOUTS:
            raise ValueError(
                f"Spec.layout = {self.layout!r} is impossible: give {' or '.join(LAYOUTS)}."
            )
        usual = _USUALLY[self.layout]
        for name, value in usual.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in _FIXED.get(self.layout, ()):
            if getattr(self, name) != usual[name]:
                raise ValueError(
                    f"Spec.{name} = {getattr(self, name)!r} is impossible: in the layout "
                    f"{self.layout} it is always {usual[name]}. Leave it out."
                )
        if self.layout == DUKE and self.junk:
            raise ValueError(
                f"Spec.junk = {self.junk!r} is impossible: DukeMTMC-reID has no junk boxes. Give 0 "
                "or leave junk out, or take the layout market1501."
            )
        if self.layout == REGDB and self.images_per_camera != int(self.images_per_camera):
            raise ValueError(
                f"Spec.images_per_camera = {self.images_per_camera!r} is impossible: in the layout "
                "regdb everybody has the same number of pictures. Give a whole number."
            )

    @property
    def modalities(self) -> tuple[str, ...]:
        """What each camera sees: ``visible``, ``near`` infrared or ``thermal`` radiation."""
        if self.layout == REGDB:
            return VISIBLE, THERMAL
        if self.layout == SYSU:
            return VISIBLE, VISIBLE, NEAR, VISIBLE, VISIBLE, NEAR
        return (VISIBLE,) * self.cameras

    @property
    def rigs(self) -> tuple[int, ...]:
        """The first camera on each camera's mount; RegDB's two share theirs, and the visits."""
        return (0, 0) if self.layout == REGDB else tuple(range(self.cameras))

    @classmethod
    def market(cls, **changes: int | float) -> Spec:
        """Market-1501's own size: 1,501 people, 6 cameras, 32,668 boxes and 3,368 queries.

        Args:
            **changes: fields to replace.

        Returns:
            The specification.
        """
        counts = cls(
            train_identities=751,
            test_identities=750,
            cameras=6,
            cameras_per_identity=3262 / 751,
            images_per_camera=12936 / 3262,
            test_cameras_per_identity=3368 / 750,
            test_images_per_camera=13115 / 3368,
            distractors=2798,
            junk=3819,
        )
        return dataclasses.replace(counts, **changes)  # pyright: ignore[reportArgumentType]
