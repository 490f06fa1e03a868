"""Names of data sets: substitution without a network, and names that nobody knows."""

import pytest

from vae_jax.runtime.errors import InputError


@pytest.mark.usefixtures("no_network")
def test_without_network_the_error_names_every_way_out(read, tmp_path):
    with pytest.raises(InputError) as caught:
        read("mnist")
    message = str(caught.value)
    assert message.startswith("dataset=mnist: ")
    assert "no connection to storage.googleapis.com: ConnectionError" in message
    assert f"data_dir={tmp_path}/store; " in message
    assert message.endswith("give offline_dataset=mnist_5k")


@pytest.mark.usefixtures("no_network")
def test_the_use_of_the_offline_dataset_is_recorded(read):
    data = read("mnist", offline_dataset="digits")
    assert data.image_shape == (8, 8, 1)
    assert (data.record.asked, data.record.used) == ("mnist", "digits")
    assert data.record.substitution.startswith("dataset=mnist ")
    assert "no connection to storage.googleapis.com: ConnectionError" in data.record.substitution
    assert "offline_dataset=digits" in data.record.substitution


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("offline", "problem"),
    [("fashion_mnist", "cannot be downloaded either"), ("no.npz", "no such file or folder")],
)
def test_an_offline_dataset_that_is_unavailable_too_is_refused(offline, problem, read):
    with pytest.raises(InputError, match=f"^offline_dataset={offline}: {problem}"):
        read("mnist", offline_dataset=offline)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("fashion_mnst", "did you mean fashion_mnist?"),
        ("mnist5k", "did you mean mnist_5k"),
        ("emnst/letters", "no file or folder here, and no data set of this name"),
        ("qqqqqq", "give a path or mnist_5k, digits, sprites, mnist"),
        ("", "no such file or folder; give a path that exists"),
    ],
)
def test_unknown_name_is_never_substituted(name, advice, read):
    with pytest.raises(InputError) as caught:
        read(name, offline_dataset="mnist_5k")
    assert str(caught.value).startswith(f"dataset={name}: ")
    assert advice in str(caught.value)


def test_offline_dataset_is_not_touched_when_the_data_are_there(read):
    assert read("digits", offline_dataset="no such thing").record.substitution == ""


@pytest.mark.parametrize(
    "settings",
    [dict(num_valid=-1), dict(resize=(0, 3)), dict(image_mode="grey")],
    ids=str,
)
def test_settings_out_of_range_are_refused_before_anything_is_read(read, settings):
    with pytest.raises(InputError) as caught:
        read("absent.npz", **settings)
    assert caught.value.setting in settings
