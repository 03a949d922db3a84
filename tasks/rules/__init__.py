"""What values of ddpmclean's parameters make sense, each alone and together.

Every rule is a function of all the values that raises a ValueError naming the
parameter, the value and the rule. `RULES` lists them in the order of the checks.
Nothing is written, and CASA is not needed.
"""

from __future__ import annotations

from collections.abc import Callable

from . import choices, files, imagename, imsize, numbers, quantities, support
from .values import Values

RULES: tuple[Callable[[Values], None], ...] = (
    files.one_input,
    files.images_belong_to_dirtyimage,
    imagename.imagename_given,
    support.supported,
    numbers.whole_numbers,
    numbers.terms_of_spectra,
    numbers.some_pass,
    numbers.minprob_is_probability,
    quantities.thermalnoise_is_flux,
    choices.device_known,
    imsize.imsize_positive,
    imsize.images_are_wide,
    quantities.cell_positive,
    numbers.fractions_in_range,
    numbers.smoothing_in_range,
    choices.normtype_known,
    choices.spectral_axis_known,
    choices.datacolumn_known,
    quantities.noise_is_flux,
    choices.bandwidth_taper_of_channels,
    quantities.threshold_is_flux,
    numbers.not_negative,
    files.measurement_sets_exist,
    files.images_exist,
    files.named_files_exist,
    files.nothing_asked_for_is_dropped,
    files.products_replace_no_input,
    files.models_can_be_saved,
    imagename.folder_writable,
    imsize.images_fit,
)


def check(values: Values) -> None:
    """Raise a ValueError for the first rule that `values` break.

    Parameters
    ----------
    values : mapping
        Every parameter of ddpmclean by name, each of a right type.
    """
    for rule in RULES:
        rule(values)
