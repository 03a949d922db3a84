"""The CASA task ddpmclean, as a callable object."""

from __future__ import annotations

import inspect
from typing import Any

from . import parameters, reference, session


class _DdpmClean(session.SessionTask):
    """Callable whose parameters, signature and help come from ``ddpmclean.xml``."""

    def __init__(self) -> None:
        task = parameters.task()
        self.__name__ = self.__qualname__ = task.name
        self.__module__ = __name__
        self.__doc__ = reference.text(task)
        self._info_group_, self._info_desc_ = task.category, task.summary
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter(
                    name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=parameter.default
                )
                for name, parameter in task.parameters.items()
            ]
        )

    def __repr__(self) -> str:
        return f"<CASA task {self.__name__}>"

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        values = parameters.validate(session.given(_by_name(args, kwargs)))
        session.remember(self.__name__, values)
        log = _task_logging()
        from .task_ddpmclean import ddpmclean as body

        state = log.start_log(self.__name__, [f"{k}={v!r}" for k, v in values.items()])
        result = None
        try:
            result = body(**values)
        except Exception as error:
            log.except_log(self.__name__, error)
            raise
        finally:
            log.end_log(state, self.__name__, result)
        return result


def _by_name(args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Positional and keyword arguments as one dict; unknown names are left to validate."""
    names = list(parameters.task().parameters)
    if len(args) > len(names):
        raise TypeError(f"ddpmclean takes at most {len(names)} parameters, got {len(args)}")
    given = dict(zip(names, args, strict=False))
    for name in given:
        if name in kwargs:
            raise TypeError(f"{name} must be given once, got it by position and by name")
    return given | kwargs


def _task_logging():
    """CASA's task logging, with its measures data found; CASA is imported here first."""
    from casa_ddpm import measures

    measures.configure()
    try:
        from casatasks.private import task_logging
    except ModuleNotFoundError as error:
        missing = (error.name or "casatasks").split(".")[0]
        raise ImportError(
            f"ddpmclean needs CASA, and the module {missing!r} is not installed:"
            " pip install 'casa-ddpm[casa]'"
        ) from error
    return task_logging


ddpmclean = _DdpmClean()
