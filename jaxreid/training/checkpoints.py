"""Orbax behind one door: save, restore the newest readable step, say what was skipped."""

import logging
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxreid.training import mirror, processes, seals
from jaxreid.training.files import write_json

_ELSEWHERE = (MemoryError, PermissionError, TimeoutError)


class Checkpoints:
    """Checkpoints of one training run; of joint processes all write and read.

    The two newest are kept (the older one is the fall-back), and those of the steps in ``keep``.
    """

    def __init__(self, directory: Path, keep: Collection[int] = ()):
        """Opens (and creates) ``directory``."""
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # what fails is raised, too
        kept = [policies.LatestN(2), policies.CustomSteps(list(keep))]
        options: dict[str, Any] = {
            "preservation_policy": policies.AnyPreservationPolicy(kept),
        }
        if jax.process_count() > 1 and not processes.joint():  # the others do not take part
            directory.mkdir(parents=True, exist_ok=True)
            this = jax.process_index()
            options["create"] = False
            options["multiprocessing_options"] = ocp.options.MultiprocessingOptions(
                primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"p{this}"
            )
        self._unsealed = True
        self._manager = ocp.CheckpointManager(
            directory.absolute(), options=ocp.CheckpointManagerOptions(**options)
        )

    def save(self, step: int, state: Any) -> None:
        """Starts writing ``state`` as of ``step``; a step already on disk is left alone."""
        if step not in self._manager.all_steps():
            self.finish()
            mirror.push()
            with self._writing():
                self._manager.save(step, args=ocp.args.StandardSave(state), force=True)
            self._unsealed = True

    def settle(self) -> None:
        """Seals what has been saved meanwhile; called often, so that little stays unsealed."""
        if self._unsealed and not self._manager.is_saving_in_progress():
            self.finish()

    def finish(self) -> None:
        """Waits until everything is on disk, and seals it."""
        with self._writing():
            self._manager.wait_until_finished()
            self._seal()

    def restore(self, abstract: Any, until: int) -> Any | None:
        """The newest readable state not after step ``until``, else None.

        It comes in the shapes and shardings of ``abstract``. Joint processes try the steps that the
        first one finds: shared storage may show the newest to some of them late.

        A checkpoint that cannot be read (cut short, damaged disk) is set aside after saying so,
        and the one before is taken: training then repeats the steps in between. What has nothing
        to do with its files (no memory, no permission) is raised.
        """
        steps = processes.tell(lambda: sorted(self._manager.all_steps(), reverse=True))
        for step in (step for step in steps if step <= until):
            try:
                self._require_whole(step)
                return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
            except Exception as error:  # noqa: BLE001  whatever orbax and tensorstore raise
                if isinstance(error, _ELSEWHERE) or "RESOURCE_EXHAUSTED" in str(error):
                    raise
                reason = str(error).strip().partition("\n")[0][:160]
                print(
                    f"checkpoint {step} in {self._manager.directory} cannot be read "
                    f"({type(error).__name__}: {reason}); falling back to the one before",
                    flush=True,
                )
                self._set_aside(step)
        return None

    def _set_aside(self, step: int) -> None:
        """Moves a checkpoint to ``unreadable/``, out of the manager's sight."""
        directory = Path(self._manager.directory)
        aside = directory.parent / "unreadable" / str(step)

        def move() -> None:
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            (directory / str(step)).rename(aside)

        processes.tell(move)
        self._manager.reload()

    def close(self) -> None:
        """Waits until everything is on disk."""
        self.finish()
        self._manager.close()

    def _seal(self) -> None:
        """Notes what the finished checkpoints are: Orbax does not notice every changed bit."""
        items = [self._item(step) for step in self._manager.all_steps()]
        for item in items if processes.leads() or not processes.joint() else ():
            if item.exists() and not (item / seals.SEAL).exists():
                write_json(item / seals.SEAL, seals.of(item))
        self._unsealed = False

    def _require_whole(self, step: int) -> None:
        altered = processes.tell(lambda: [p.name for p in seals.altered(self._item(step))])
        if altered:
            raise ValueError(f"{altered[0]} is missing or has changed since it was written")

    def _item(self, step: int) -> Path:
        return Path(self._manager.directory) / str(step) / "default"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns what tensorstore says of a full disk into an error that says what to do."""
        try:
            yield
        except Exception as error:
            if "No space left" not in str(error):
                raise
            raise OSError(
                f"no space left for checkpoints in {self._manager.directory}: free some disk, then "
                "the same command continues from the last complete one"
            ) from None


def newest(directory: Path) -> Any:
    """The newest checkpoint as nested dicts upon one device, whatever it was saved from.

    Raises:
        ValueError: there is none, or it has changed since it was written.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    handler = ocp.StandardCheckpointHandler()
    with ocp.CheckpointManager(directory.absolute(), item_handlers=handler) as manager:
        step = manager.latest_step()
        if step is None:
            raise ValueError(f"{directory} has no checkpoint")
        if altered := seals.altered(directory / str(step) / "default"):
            raise ValueError(f"{altered[0]} is missing or has changed since it was written")
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        known: Any = manager.item_metadata(step)
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), known
        )
        return manager.restore(step, args=ocp.args.StandardRestore(shapes))
