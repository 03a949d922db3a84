"""Which parameters are said to change nothing."""

from call import valid

from casa_ddpm.tasks import effect, parameters


def test_lists_name_parameters():
    known = set(parameters.task().parameters)
    assert known >= effect.CLEAN_ONLY
    assert known >= effect.VISIBILITIES_ONLY
    # Our own, which tclean does not have, begin here.
    own = list(parameters.task().parameters)
    assert not effect.CLEAN_ONLY & set(own[own.index("dirtyimage") :])


def test_ineffective_of_a_recipe(folder):
    recipe = valid(
        niter=10000, gain=0.05, deconvolver="multiscale", scales=[0, 5, 15], cycleniter=500,
        threshold="0.1mJy", weighting="briggs", usemask="auto-multithresh", nsamples=10,
    )  # fmt: skip
    expected = ["deconvolver", "scales", "niter", "gain", "cycleniter"]
    assert effect.ineffective(recipe) == expected
    assert effect.ineffective(parameters.validate(recipe)) == expected


def test_ineffective_beside_a_dirty_image(folder):
    values = {"dirtyimage": "dirty.fits", "imagename": "out", "imsize": 512, "robust": 0.0}
    assert effect.ineffective(values) == ["imsize", "robust"]
    cube = values | {"specmode": "cube", "stokes": "XX"}
    assert effect.ineffective(cube) == ["imsize", "stokes", "specmode", "robust"]


def test_defaults_are_not_ineffective():
    assert effect.ineffective(parameters.defaults()) == []


def test_niter_0_has_an_effect():
    assert effect.ineffective({"niter": 0, "gain": 0.2}) == ["gain"]


def test_taylor_terms_have_an_effect():
    values = {"deconvolver": "mtmfs", "nterms": 3, "scales": [0, 5]}
    assert effect.ineffective(values) == ["scales"]
    assert effect.ineffective(values | {"deconvolver": "multiscale"}) == [
        "deconvolver", "scales", "nterms",
    ]  # fmt: skip
