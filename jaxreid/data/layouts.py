"""The official layouts as data: folders, file names, cameras, published counts, terms.

One reader (``scan``) serves every row of ``LAYOUTS``; a new set of the kind is a new row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

JUNK = -1  # pid of pictures that no protocol counts; they stay in the gallery and are masked there


@dataclass(frozen=True)
class Source:
    """Where the pictures of a split are.

    Attributes:
        folder: below the root.
        lists: text files below the root with lines ``path pid``; none: every picture counts.
        pid_offset: added to the pids, where two splits give one number to two people.
        subfolders: of ``folder``, those that hold the pictures, one per camera; none: it holds them
            itself.
        people: raw numbers of those who belong to the split, where splits share folders; none:
            everybody.
        people_lists: text files below the root with such numbers, between commas; none: as above.
        nested: whether ``subfolders`` hold one more folder per person.
        relabelled: whether the numbers in ``lists`` are labels that begin at 0 in every list, so
            that names alone tell who is who.
    """

    folder: str
    lists: tuple[str, ...] = ()
    pid_offset: int = 0
    subfolders: tuple[str, ...] = ()
    people: frozenset[int] = frozenset()
    people_lists: tuple[str, ...] = ()
    nested: bool = False
    relabelled: bool = False


@dataclass(frozen=True)
class Counts:
    """Published or found numbers of a split.

    Attributes:
        identities: without junk and distractors.
        images: without junk.
        cameras: images per camera without junk; () if not published.
        junk: images that no protocol counts.
        distractors: images of nobody in particular, which stay as negatives.
    """

    identities: int
    images: int
    cameras: tuple[int, ...] = ()
    junk: int = 0
    distractors: int = 0


@dataclass(frozen=True)
class Layout:
    """How a data set lies on disk.

    Attributes:
        name: in configs and as the ``domain`` of its records.
        title: as papers write it.
        archives: folder names of the unpacked official archive.
        splits: train, query and gallery.
        patterns: of names, tried in order, with the groups ``pid`` and ``camera``. A name is that
            of the file, where a split has subfolders ``subfolder/file``.
        cameras: what names call them, in order; none: they count from 1.
        infrared: 0-based cameras that see infrared; the others see visible light.
        distractors: pids of pictures of nobody in particular.
        published: per split, what a complete copy holds; {} if there is nothing to compare with.
        notice: terms and warnings, said when the set is prepared or checked.
    """

    name: str
    title: str
    archives: tuple[str, ...]
    splits: Mapping[str, Source]
    patterns: tuple[str, ...]
    cameras: tuple[str, ...] = ()
    infrared: tuple[int, ...] = ()
    distractors: tuple[int, ...] = ()
    published: Mapping[str, Counts] = field(default_factory=dict)
    notice: str = ""


def _folders(prefix: str = "") -> dict[str, Source]:
    return {
        "train": Source(f"{prefix}bounding_box_train"),
        "query": Source(f"{prefix}query"),
        "gallery": Source(f"{prefix}bounding_box_test"),
    }


_MARKET = Layout(
    name="market1501",
    title="Market-1501",
    archives=("Market-1501-v15.09.15",),
    splits=_folders(),
    # 22 official names end in .jpg.jpg
    patterns=(r"(?P<pid>-1|\d{1,9})_c(?P<camera>[1-6])s\d_\d{6}_\d{2}\.jpg(\.jpg)?",),
    distractors=(0,),
    published={
        "train": Counts(751, 12_936, (2017, 1709, 2707, 920, 2338, 3245)),
        "query": Counts(750, 3_368, (668, 530, 717, 248, 622, 583)),
        # the project page prints 2,793 distractors; the files hold 2,798
        "gallery": Counts(750, 15_913, (2738, 2224, 3199, 1365, 2762, 3625), 3_819, 2_798),
    },
    notice="Market-1501 is for academic use: cite Zheng et al., ICCV 2015.",
)

_WORLD = replace(
    _MARKET,
    name="world",
    title="the synthetic world",
    archives=(),
    patterns=(
        r"(?P<pid>-1|\d{1,9})_c(?P<camera>[1-9]\d{0,2})s\d_\d{6}_\d{2}\.jpg",
        r"(?P<pid>\d{4})_c(?P<camera>[1-9]\d{0,2})_f\d{7}\.jpg",  # a world in DukeMTMC-reID's form
    ),
    published={},
    notice="",
)

_VTEST = replace(
    _WORLD,
    name="vtest",
    title="vtest.avi (PETS 2009 S2.L1), a camera per passage",
    patterns=(r"(?P<pid>\d{1,9})_c(?P<camera>[1-9]\d{0,2})s\d_\d{6}_\d{2}\.png",),
    distractors=(),
    published={
        "train": Counts(5, 224),
        "query": Counts(5, 256),
        "gallery": Counts(5, 256),
    },
    notice="The people in vtest.avi are real: do not publish crops of it or try to recognise them.",
)

_DUKE = Layout(
    name="dukemtmc_reid",
    title="DukeMTMC-reID",
    archives=("DukeMTMC-reID",),
    splits=_folders(),
    patterns=(r"(?P<pid>\d{4})_c(?P<camera>[1-8])_f\d{7}\.jpg",),
    published={
        "train": Counts(702, 16_522, (2809, 3009, 1088, 1395, 1685, 3700, 1330, 1506)),
        "query": Counts(702, 2_228, (413, 383, 190, 155, 216, 369, 239, 263)),
        "gallery": Counts(1_110, 17_661, (2704, 2798, 828, 1139, 1209, 3308, 1255, 4420)),
    },
    notice=(
        "DukeMTMC-reID was withdrawn by its authors in 2019: it was filmed and published against "
        "the approved study protocol. Its use is discouraged: prefer another set, and pass on "
        "neither its pictures nor any generated from them. Keep its CC BY-NC-SA 4.0 attribution, "
        "and the word DukeMTMC in the name of anything derived from it."
    ),
)


def _cuhk03(variant: str, folder: str, train: int, gallery: int) -> Layout:
    return Layout(
        name=f"cuhk03_np_{variant}",
        title=f"CUHK03, new protocol, {variant} boxes",
        archives=("cuhk03-np",),
        splits=_folders(f"{folder}/"),
        patterns=(
            r"(?P<pid>\d{1,9})_c(?P<camera>[12])_\d+\.png",
            r"(?P<pid>\d_\d{3})_(?P<camera>[12])_\d{2}\.png",  # a person is (pair, number)
        ),
        published={
            "train": Counts(767, train),
            "query": Counts(700, 1_400),
            "gallery": Counts(700, gallery),
        },
        notice="CUHK03 is for academic use, on request: cite Li et al., CVPR 2014.",
    )


def _msmt17(version: int, validation: bool) -> Layout:
    train, test = (("train", "test"), ("mask_train_v2", "mask_test_v2"))[version - 1]
    lists = ("list_train.txt", "list_val.txt") if validation else ("list_train.txt",)
    identities = 1_041  # every split numbers its people from 0: test pids follow the training ones
    cameras = (
        *(4910, 203, 454, 1614, 4296, 1678, 3453, 795),
        *(1396, 655, 3154, 1364, 3635, 3876, 1138),
    )
    published = {"query": Counts(3_060, 11_659), "gallery": Counts(3_060, 82_161)}
    if validation:
        published["train"] = Counts(identities, 32_621, cameras)
    return Layout(
        name=f"msmt17_v{version}" + ("" if validation else "_noval"),
        title=f"MSMT17 V{version}" + ("" if validation else ", training without list_val"),
        archives=(f"MSMT17_V{version}",),
        splits={
            "train": Source(train, lists),
            "query": Source(test, ("list_query.txt",), identities),
            "gallery": Source(test, ("list_gallery.txt",), identities),
        },
        patterns=(
            r"(?P<pid>\d{4})_\d{3}_(?P<camera>0[1-9]|1[0-5])_\d{4}(morning|noon|afternoon)"
            r"_\d{4}_\d+(_ex)?\.jpg",
        ),
        published=published,
        notice=(
            "MSMT17 needs an agreement with Peking University; prefer V2, whose faces are masked. "
            "Numbers of V1 and V2 are not interchangeable."
        ),
    )


_PRID_TERMS = "PRID-2011 is for academic use: cite Hirzer et al., SCIA 2011."


def _views(views: str, people: Iterable[int] = (), pid_offset: int = 0) -> Source:
    folders = tuple(f"cam_{view}" for view in views)
    return Source("single_shot", (), pid_offset, folders, frozenset(people))


# View A saw people 1..385, view B 1..749; 1..200 are the same in both, and from 201 on one number
# names two people.
_PRID = Layout(
    name="prid2011",
    title="PRID-2011, single shot, odd people train",
    archives=("prid_2011",),
    splits={
        "train": _views("ab", range(1, 200, 2)),
        "query": _views("a", range(2, 201, 2)),
        "gallery": _views("b", (*range(2, 201, 2), *range(201, 750))),
    },
    patterns=(r"cam_(?P<camera>[ab])/person_(?P<pid>\d{4})\.png",),
    cameras=("a", "b"),
    published={
        "train": Counts(100, 200, (100, 100)),
        "query": Counts(100, 100, (100,)),
        "gallery": Counts(649, 649, (0, 649)),
    },
    notice=(
        f"{_PRID_TERMS} It has no official training split: here the shared people with odd numbers "
        "train and those with even numbers are queries. Papers draw ten random halves and average."
    ),
)

_PRID_OFFICIAL = replace(
    _PRID,
    name="prid2011_official",
    title="PRID-2011, single shot, all 200 shared people as queries",
    splits={
        # view B gave the numbers 201..385 to others, who are in the gallery: here 750..934
        "train": _views("a", range(201, 386), pid_offset=549),
        "query": _views("a", range(1, 201)),
        "gallery": _views("b"),
    },
    published={
        "train": Counts(185, 185, (185,)),
        "query": Counts(200, 200, (200,)),
        "gallery": Counts(749, 749, (0, 749)),
    },
    notice=(
        f"{_PRID_TERMS} All shared people are tested, so what is left to train on is 185 people "
        "of view A alone, one picture each; nobody of the gallery is among them."
    ),
)

_SYSU_LISTS = ("exp/train_id.txt", "exp/val_id.txt")


def _ids(cameras: str, *lists: str) -> Source:
    """Pictures of the people in ``lists``; more people are on disk than any of them names."""
    folders = tuple(f"cam{camera}" for camera in cameras)
    return Source("", subfolders=folders, people_lists=lists, nested=True)


# Cameras 1, 2 (indoors) and 4, 5 (outdoors) see visible light; 3, in the room of 2, and 6 infrared.
_SYSU = Layout(
    name="sysu_mm01",
    title="SYSU-MM01",
    archives=("SYSU-MM01",),
    splits={
        "train": _ids("123456", *_SYSU_LISTS),
        "query": _ids("36", "exp/test_id.txt"),
        "gallery": _ids("1245", "exp/test_id.txt"),  # what ``jaxreid.evaluation.draws`` draws from
    },
    patterns=(r"cam(?P<camera>[1-6])/(?P<pid>\d{4})/\d{4}\.jpg",),
    infrared=(2, 5),
    published={
        "train": Counts(395, 34_167),
        "query": Counts(96, 3_803, (0, 0, 1883, 0, 0, 1920)),
        "gallery": Counts(96, 6_775, (1374, 1565, 0, 1918, 1918)),
    },
    notice=(
        "SYSU-MM01 needs a signed agreement: research only, no redistribution, no modification "
        "without approval. So ask its authors before converting its pictures, and keep what is "
        "converted to yourself. Cite Wu et al., ICCV 2017."
    ),
)

_SYSU_NOVAL = replace(
    _SYSU,
    name="sysu_mm01_noval",
    title="SYSU-MM01, training without val_id",
    splits={**_SYSU.splits, "train": _ids("123456", *_SYSU_LISTS[:1])},
    published={
        **_SYSU.published,
        "train": Counts(296, 30_213, (4721, 5753, 5929, 4821, 4989, 4000)),
    },
)


def _regdb(trial: int) -> Layout:
    """One of ten halves of the people; whoever trains in one may be tested in another."""

    def half(part: str, *modalities: str) -> Source:
        lists = tuple(f"idx/{part}_{each.lower()}_{trial}.txt" for each in modalities)
        return Source("", lists, subfolders=modalities, relabelled=True)

    return Layout(
        name=f"regdb_{trial}",
        title=f"RegDB, trial {trial}",
        archives=("RegDB",),
        splits={
            "train": half("train", "Visible", "Thermal"),
            "query": half("test", "Visible"),
            "gallery": half("test", "Thermal"),
        },
        patterns=(
            r"(?P<camera>Visible|Thermal)/(?P<pid>\d{1,3})/"
            r"(fe)?male_(front|back)_[vt]_\d{5}_\d{1,3}\.bmp",
        ),
        cameras=("Visible", "Thermal"),
        infrared=(1,),
        published={
            "train": Counts(206, 4_120, (2060, 2060)),
            "query": Counts(206, 2_060, (2060,)),
            "gallery": Counts(206, 2_060, (0, 2060)),
        },
        notice=(
            "RegDB is lent by Dongguk University against a signed copyright form: pass on neither "
            "its pictures nor any converted from them. Cite Nguyen et al., Sensors 2017. Papers "
            "average ten trials (regdb_1 to regdb_10), each trained and tested on its own halves."
        ),
    )


LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        _MARKET,
        _WORLD,
        _VTEST,
        _DUKE,
        _cuhk03("detected", "detected", 7_365, 5_332),
        _cuhk03("labelled", "labeled", 7_368, 5_328),
        _msmt17(2, validation=True),
        _msmt17(1, validation=True),
        _msmt17(2, validation=False),
        _msmt17(1, validation=False),
        _PRID,
        _PRID_OFFICIAL,
        _SYSU,
        _SYSU_NOVAL,
        *(_regdb(trial) for trial in range(1, 11)),
    )
}
"""Every layout by name. MSMT17 and SYSU-MM01 train on the people or pictures of their lists train
and val; ``_noval`` on those of train only."""


@cache
def announce(name: str) -> None:
    """Says the terms and warnings of a layout, once per process: whoever uses a set reads them."""
    if find(name).notice:
        print(f"note: {find(name).notice}", flush=True)


def find(name: str) -> Layout:
    """The layout of that name.

    Raises:
        ValueError: unknown name; the message lists the near ones or all.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    near = [known for known in LAYOUTS if known.startswith(name)] or list(LAYOUTS)
    raise ValueError(f"Unknown data set {name!r}: choose one of {', '.join(near)}.")
