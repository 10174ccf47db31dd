"""Trackers: where the metrics of a run go beside metrics.jsonl, through Accelerate's own classes.

Owns their set-up and what happens when one fails: it gets no more metrics, and the run goes on. Keys and addresses of
servers are each package's own business: it reads them from its environment variables or files, and dcap never does.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from dcap.core.config import to_tree
from dcap.core.errors import MissingPackageError, PluginError
from dcap.core.log import get_logger
from dcap.core.registry import calling
from dcap.train.config import RunConfig, TrackerName

log = get_logger(__name__)

_PROJECT = "dcap"
_LONGEST_VALUE = 250
"""Characters of a value of the config. MLflow takes no longer ones."""
_LONGEST_NAME = 200
"""Characters of a name that stays as it is. MLflow takes 250, SwanLab 255."""
_REFUSED = re.compile(r"[^\w.-]|^\.+|\.+$")
"""What some tracker refuses in a part of a name: signs, and dots at its ends."""


def check_packages(names: Sequence[TrackerName]) -> None:
    """Check that the package of each tracker is installed.

    Raises:
        MissingPackageError: One is not.
    """
    for name in names:
        found = find_spec(name)
        if found is None or found.origin is None:  # a folder of that name, such as the runs of wandb, is no package
            raise MissingPackageError(
                f"training.trackers: {name} must be installed to be used, and is not. Run: pip install {name}"
            )


class Trackers:
    """The trackers of one run. Only the first process makes them.

    Args:
        config: The run.
        step: The run goes on from there; 0 at its start.

    Raises:
        PluginError: A tracker does not start, for example because it finds no key of its server.
    """

    def __init__(self, config: RunConfig, step: int) -> None:
        self._live: dict[str, GeneralTracker] = {}
        try:
            for name in config.training.trackers:
                with calling(f"training.trackers: {name}"):
                    self._live[name] = _started(name, config, step)
        except PluginError:
            self.close()
            raise

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Hand over metrics. A name without a group gets the group ``train``."""
        grouped = {name if "/" in name else f"train/{name}": float(value) for name, value in values.items()}
        named = {accepted_name(name): value for name, value in grouped.items()}
        for name, tracker in list(self._live.items()):
            try:
                with calling(f"training.trackers: {name}"):
                    tracker.log(named, step=step)
            except PluginError as error:
                del self._live[name]
                log.warning("%s. It gets no more metrics; metrics.jsonl has them all", error)

    def close(self) -> None:
        """Finish all trackers; may be called twice."""
        for name in list(self._live):
            try:
                with calling(f"training.trackers: {name}"):
                    self._live.pop(name).finish()
            except PluginError as error:
                log.warning("%s", error)


def accepted_name(name: str) -> str:
    """Return a name of a metric or of a field of the config as all trackers take it.

    Names hold words of users: of captions, data sets and plug-ins. Letters of all scripts, digits, ``_``, ``-`` and
    ``.`` stay, and ``/`` between them. All else becomes ``_``, with a digest of the name at its end, so that no two
    names become one.
    """
    accepted = "/".join(_REFUSED.sub("_", part) or "_" for part in name.split("/"))[:_LONGEST_NAME]
    if accepted == name:
        return name
    return f"{accepted}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


def _started(name: TrackerName, config: RunConfig, step: int) -> GeneralTracker:
    folder = Path(config.training.output_dir)
    kind = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":
        # The later events of an interrupted run are hidden, so that no step counts twice.
        events = kind("tensorboard", str(folder), purge_step=step + 1)
        events.start()
        return events
    tracker = kind(os.environ.get(_PROJECT_VARIABLES[name], _PROJECT), **_arguments(name, folder))
    tracker.start()
    tracker.store_init_configuration({accepted_name(name): value for name, value in _flat(to_tree(config))})
    return tracker


_PROJECT_VARIABLES: Mapping[str, str] = {
    "wandb": "WANDB_PROJECT",
    "mlflow": "MLFLOW_EXPERIMENT_NAME",
    "swanlab": "SWANLAB_PROJECT",
}
"""Environment variable that names the project of each tracker, in place of ``dcap``."""


def _arguments(name: TrackerName, folder: Path) -> dict[str, Any]:
    """Return what the run is called, and where files of the tracker go."""
    if name == "wandb":
        return {"name": folder.name, "dir": str(folder)}
    if name == "swanlab":
        return {"experiment_name": folder.name, "logdir": str(folder / "swanlab")}
    return {"run_name": folder.name}


def _flat(tree: Any, name: str = "") -> list[tuple[str, Any]]:
    """Return the values of a tree by their dotted names."""
    if isinstance(tree, Mapping):
        return [item for key, value in tree.items() for item in _flat(value, f"{name}.{key}" if name else str(key))]
    if isinstance(tree, list):
        return [item for i, value in enumerate(tree) for item in _flat(value, f"{name}.{i}")]
    return [(name, tree[:_LONGEST_VALUE] if isinstance(tree, str) else tree)]
