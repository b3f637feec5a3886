"""Errors that end a command; errors of a layer live with the layer."""


class CannotRunError(RuntimeError):
    """The command cannot run; the message says why and what to do."""
