"""Errors of the engine itself; verdicts on media are OperationError."""


class EngineError(Exception):
    """A run was ended from outside, or the machine lacks something: another try may succeed.

    The message is shown to users and contains no path.
    """


class ScratchFullError(EngineError):
    """Running media steps occupy the scratch folder, or its disk is full."""
