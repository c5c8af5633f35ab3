"""The site's sizes, and which of them a version takes."""

from datalabs_catalogue.models import VersionSpecification
from datalabs_contracts.datalabs import Size


class Sizes:
    """Sizes in the operator's order, the usual one first."""

    def __init__(self, sizes: list[Size]) -> None:
        self.all = list(sizes)

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [size.name for size in self.all]

    def of(self, specification: VersionSpecification) -> list[Size]:
        """Return the sizes of a version: those that it names and the site has, all when it has none of them.

        Of these, those within its bounds; when there is none the largest, which comes nearest to what it needs.
        """
        named = [size for size in self.all if size.name in specification.sizes] or self.all
        fitting = [size for size in named if specification.bounds.hold(size)]
        return fitting or [max(named, key=lambda size: (size.memory_mib, size.cores, size.gpus))]

    def default_of(self, specification: VersionSpecification) -> Size:
        """Return the size of a launch that names none."""
        offered = self.of(specification)
        return next((size for size in offered if size.name == specification.default_size), offered[0])
