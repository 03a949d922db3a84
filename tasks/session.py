"""ddpmclean as a task of CASA's shell: ``inp``, ``go``, ``default``, ``tget``, ``tput``.

The shell calls methods of a task and keeps its parameters as globals. It is never
imported from here: where it runs, it is imported already.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import inputs, parameters


class SessionTask:
    """What the shell asks of a task besides being callable; ddpmclean derives from it.

    ``inp``, ``default`` and the like, typed in the shell, arrive here.
    """

    __name__: str
    _info_group_: str
    _info_desc_: str

    def inp(self) -> None:
        """Show the parameters, as ``inp ddpmclean`` does."""
        print(inputs.screen(_globals(), shutil.get_terminal_size().columns))

    def set_global_defaults(self) -> None:
        """Forget all parameters, as ``default ddpmclean`` does."""
        names = _globals()
        for name in parameters.task().parameters:
            names.pop(name, None)
        self._activate()

    def tget(self, savefile: str | None = None) -> None:
        """Take the parameters from a file.

        Parameters
        ----------
        savefile : str, optional
            File of an earlier run or of `tput`, or tclean's; by default ddpmclean.last,
            or else ddpmclean.saved. Where there is none the defaults are set.
        """
        choices = [savefile] if savefile else [f"{self.__name__}.{s}" for s in ("last", "saved")]
        for path in map(Path, choices):
            if path.is_file():
                _globals().update(inputs.load(path))
                return self._activate()
        print(f"There is no file {' or '.join(choices)}: the defaults are set")
        self.set_global_defaults()

    def tput(self, outfile: str | None = None) -> None:
        """Save the parameters to a file.

        Parameters
        ----------
        outfile : str, optional
            The file; by default ddpmclean.last in the current folder.
        """
        inputs.save(outfile or f"{self.__name__}.last", inputs.fill(_globals()))

    def _activate(self) -> None:
        """Make it the task that a bare ``inp`` or ``go`` means."""
        state = sys.modules["casashell.private.stack_manip"].find_local("casa_inp_go_state")
        if state is not None:
            state["last"] = self


def namespace() -> dict[str, Any] | None:
    """The globals of CASA's shell, where the caller runs in it, and None elsewhere."""
    stack = sys.modules.get("casashell.private.stack_manip")
    return stack.find_frame() if stack else None


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a call with these arguments means.

    In CASA's shell, as for tclean: without arguments the globals are meant, and
    sub-parameters have the defaults that ``inp`` shows. Elsewhere nothing is added.

    Parameters
    ----------
    arguments : mapping
        The arguments of the call by name; in the shell None stands for one not given.

    Returns
    -------
    dict
        Parameters by name.
    """
    names = namespace()
    if names is None:
        return dict(arguments)
    chosen = {name: value for name, value in arguments.items() if value is not None}
    return inputs.fill(chosen or names) | chosen


def remember(task: str, values: Mapping[str, Any]) -> None:
    """Write the parameters of a run to ``task.last``, in CASA's shell only.

    A folder that cannot be written to is no reason not to run.
    """
    if namespace() is not None:
        try:
            inputs.save(f"{task}.last", values)
        except OSError as error:
            print(f"{task}.last is not written: {error}")


def offer(task: SessionTask) -> None:
    """Give the task to CASA's shell, if that is where the caller runs.

    It becomes a name there, unless that is taken, and ``taskhelp`` lists it. It is
    not protected as CASA's own tasks are: the shell would refuse to import it by name.

    Parameters
    ----------
    task : SessionTask
        The task.
    """
    names = namespace()
    if names is None:
        return
    names.setdefault(task.__name__, task)
    extra = getattr(sys.modules["casashell"], "extra_task_modules", [])
    module = sys.modules[__package__]
    if module not in extra:
        extra.append(module)


def _globals() -> dict[str, Any]:
    names = namespace()
    if names is None:
        raise RuntimeError(
            "inp, default, tget and tput must be used in CASA's shell;"
            " in Python call the task with its parameters"
        )
    return names
