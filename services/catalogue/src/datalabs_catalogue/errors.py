"""What the catalogue refuses, and what is wrong with an entry."""

from datalabs_contracts.problems import FieldProblem, ProblemCode, ProblemError


class OperatorsOnlyError(ProblemError):
    """The caller is no operator."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.FORBIDDEN, "Only operators may do this.")


class UnknownDatalabError(ProblemError):
    """No such entry, or it was withdrawn."""

    def __init__(self, slug: str) -> None:
        super().__init__(ProblemCode.UNKNOWN_DATALAB, f"There is no datalab {slug!r}.", datalab=slug)


class UnknownVersionError(ProblemError):
    """The entry never had such a version."""

    def __init__(self, slug: str, version: str) -> None:
        super().__init__(
            ProblemCode.UNKNOWN_VERSION,
            f"{slug} has no version {version!r}.",
            errors=[FieldProblem(pointer="/version", detail=f"{slug} has no version {version!r}.")],
        )


class UnknownSizeError(ProblemError):
    """The site, or this version, has no such size."""

    def __init__(self, size: str, offered: list[str]) -> None:
        detail = f"There is no size {size!r} here, only {', '.join(offered)}."
        super().__init__(
            ProblemCode.UNKNOWN_SIZE,
            detail,
            errors=[FieldProblem(pointer="/size", detail=detail)],
            offered=offered,
        )


class UnknownCollectionError(ProblemError):
    """The site has no such collection."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            ProblemCode.UNKNOWN_COLLECTION,
            f"There is no collection {', '.join(map(repr, names))}.",
            errors=[
                FieldProblem(pointer="/collections", detail=f"There is no collection {name!r}.")
                for name in names
            ],
        )


class InvalidParametersError(ProblemError):
    """The parameters do not fit the version's schema."""

    def __init__(self, errors: list[FieldProblem]) -> None:
        first = errors[0]
        super().__init__(ProblemCode.INVALID_PARAMETERS, f"{first.pointer}: {first.detail}", errors=errors)


class BrokenEntryError(Exception):
    """A folder is no usable datalab; the text is for its author."""


class BrokenIconError(Exception):
    """A picture that cannot be shown safely; the text is for its author."""
