"""Every model of a server by name and version, for the doors.

A door finds the plane of a model once a request, or once a path, and asks that plane; the server's own verbs (live,
ready, metadata) are answered here. The word is Triton's (model repository); nothing is loaded or unloaded while a
server runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ascend_serve import __version__
from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import ConfigError, ModelNotFound
from ascend_serve.protocol.messages import IndexEntry, ModelMetadata, ModelStatistics, ServerMetadata
from ascend_serve.protocol.show import show
from ascend_serve.spec.text import nearest

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
)
"""Extensions of the protocol that the doors speak, by Triton's names."""


class Repository:
    """The models of one server.

    Args:
        planes: at least one; several versions of a model are several planes of one name.

    Raises:
        ConfigError: there is none, or two have name and version in common.
    """

    def __init__(self, planes: Sequence[DataPlane]) -> None:
        if not planes:
            raise ConfigError("a server without models: give at least one")
        self._planes = tuple(planes)
        self._versions: dict[str, dict[str, DataPlane]] = {plane.spec.name: {} for plane in planes}
        # Oldest first, so that the newest of each name is its last.
        for plane in sorted(planes, key=lambda plane: int(plane.version)):
            of_name = self._versions[plane.spec.name]
            if plane.version in of_name:
                raise ConfigError(f"model '{plane.spec.name}' is there twice in version {plane.version}")
            of_name[plane.version] = plane
        self._newest = {name: list(versions.values())[-1] for name, versions in self._versions.items()}

    @property
    def planes(self) -> tuple[DataPlane, ...]:
        """All of them, in the order in which they were given."""
        return self._planes

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models, each once."""
        return tuple(self._versions)

    def plane(self, name: str, version: str | None = None) -> DataPlane:
        """A model's plane.

        Args:
            name: of the model.
            version: of the model; None is the newest, which is the highest number.

        Raises:
            ModelNotFound: no such model, or not in that version.
        """
        if version is None:
            plane = self._newest.get(name)
            if plane is not None:
                return plane
        versions = self._versions.get(name)
        if versions is None:
            raise ModelNotFound(f"no model {show(name)} here{nearest(name[:100], self._versions)}")
        assert version is not None, "every model has a newest version"
        plane = versions.get(version)
        if plane is None:
            raise ModelNotFound(
                f"model '{name}' has no version {show(version)}{nearest(version[:100], versions)}"
            )
        return plane

    def plane_of_call(self, name: str | None, version: str | None = None) -> DataPlane:
        """The plane for a call that need not name the model where there is but one.

        Raises:
            ModelNotFound: no such model or version, or none is named and there are several.
        """
        if name is None:
            if len(self._versions) > 1:
                raise ModelNotFound(
                    f"{len(self._versions)} models are here: say which with model=, one of {', '.join(self._versions)}"
                )
            (name,) = self._versions
        return self.plane(name, version)

    def versions(self, name: str) -> tuple[str, ...]:
        """Versions of a model, oldest first.

        Raises:
            ModelNotFound: no such model.
        """
        return tuple(self._versions[self.plane(name).spec.name])

    def live(self) -> bool:
        """Whether this process can answer at all: it just did."""
        return True

    def ready(self) -> bool:
        """Whether every model takes requests."""
        return all(plane.ready() for plane in self._planes)

    def server_metadata(self) -> ServerMetadata:
        """Name, version and protocol extensions of this server."""
        return ServerMetadata("ascend_serve", __version__, EXTENSIONS)

    def model_metadata(self, name: str, version: str | None = None) -> ModelMetadata:
        """Signature of a model, with all of its versions.

        Raises:
            ModelNotFound: no such model, or not in that version.
        """
        return self.plane(name, version).metadata(self.versions(name))

    def index(self, *, ready: bool) -> list[IndexEntry]:
        """Every model and version; with `ready` those alone that take requests."""
        entries = []
        for name, versions in self._versions.items():
            for version, plane in versions.items():
                if plane.ready():
                    entries.append(IndexEntry(name, version, "READY"))
                elif not ready:
                    entries.append(IndexEntry(name, version, "UNAVAILABLE", "its device or its lane failed"))
        return entries

    def statistics(self, name: str | None = None, version: str | None = None) -> list[ModelStatistics]:
        """Statistics of this replica's models.

        Args:
            name: of the model; None for all.
            version: of the model; None for all of them.

        Raises:
            ModelNotFound: no such model, or not in that version.
        """
        if name is None:
            return [plane.statistics() for plane in self._planes]
        if version is not None:
            return [self.plane(name, version).statistics()]
        return [self._versions[name][version].statistics() for version in self.versions(name)]

    def why_not_loaded(self) -> str:
        """Words for a client that wants a model loaded or unloaded."""
        return (
            "models are not loaded or unloaded here while the server runs: change the Serve file and deploy it again "
            f"(`serve deploy`, or `ascend-serve run`); served are {', '.join(self.names)}"
        )
