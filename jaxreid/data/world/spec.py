"""The specification of a synthetic world."""

from __future__ import annotations

import dataclasses

FOLDERS = ("bounding_box_train", "bounding_box_test", "query")
TRAIN, GALLERY, QUERY = range(3)
# Streams keep the random keys of known people, distractors, junk boxes and people outside apart.
KNOWN, STRANGER, BAD_BOX, OUTSIDER = range(4)
MARKET, DUKE = LAYOUTS = ("market1501", "dukemtmc_reid")
_JUNK = 50


@dataclasses.dataclass(frozen=True)
class Spec:
    """One synthetic world; plain values only.

    Attributes:
        seed: everything is a pure function of it. Two cities of one seed show the same bodies in
            other clothes: for people who are strangers to each other, take two seeds.
        train_identities: people in ``bounding_box_train``.
        test_identities: people in ``query`` and ``bounding_box_test``.
        cameras: number of cameras, 2 to 9, in DukeMTMC-reID's layout 2 to 8.
        cameras_per_identity: mean number of cameras that see a training person, at least 1.
        images_per_camera: mean pictures per (training person, camera).
        test_cameras_per_identity: the same for test people, at least 2; None means all cameras.
        test_images_per_camera: mean gallery pictures per (test person, camera), beside the one
            query; None means ``images_per_camera``.
        distractors: gallery boxes of strangers or empty street (pid 0). In DukeMTMC-reID's layout:
            people with pids of their own, in the gallery only, each seen by one camera in
            ``test_images_per_camera`` pictures on average.
        junk: badly placed gallery boxes (pid -1); None means 50, or 0 in DukeMTMC-reID's layout,
            which has none.
        height: rows of a picture.
        width: columns of a picture.
        strength: how much the cameras' sensor responses differ; 0 is not at all.
        colourful: share of garments in a saturated colour; fewer make people more alike.
        city: 0 or 1; other streets, light and clothes, and cameras that hang higher.
        layout: of folders and file names, ``market1501`` or ``dukemtmc_reid``.

    Raises:
        ValueError: the specification is impossible; the message names the field.
    """

    seed: int = 0
    train_identities: int = 100
    test_identities: int = 50
    cameras: int = 4
    cameras_per_identity: float = 2.0
    images_per_camera: float = 4.0
    test_cameras_per_identity: float | None = None
    test_images_per_camera: float | None = None
    distractors: int = 50
    junk: int | None = None
    height: int = 128
    width: int = 64
    strength: float = 0.5
    colourful: float = 0.2
    city: int = 0
    layout: str = MARKET

    def __post_init__(self) -> None:
        self._settle_layout()
        duke = self.layout == DUKE
        most = 9999 - self.train_identities - self.test_identities
        ranges: dict[str, tuple[float, float]] = {
            "seed": (0, 2**31 - 1),
            "train_identities": (1, 9998),
            "test_identities": (1, 9999 - self.train_identities),
            "cameras": (2, 8 if duke else 9),
            "cameras_per_identity": (1, self.cameras),
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
        """Checks the layout and what it says about junk."""
        if self.layout not in LAYOUTS:
            raise ValueError(
                f"Spec.layout = {self.layout!r} is impossible: give {' or '.join(LAYOUTS)}."
            )
        if self.junk is None:
            object.__setattr__(self, "junk", 0 if self.layout == DUKE else _JUNK)
        elif self.layout == DUKE and self.junk:
            raise ValueError(
                f"Spec.junk = {self.junk!r} is impossible: DukeMTMC-reID has no junk boxes. Give 0 "
                "or leave junk out, or take the layout market1501."
            )

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
