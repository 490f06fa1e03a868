"""Names of data sets: substitution without a network, and names that nobody knows."""

import pytest

from tests.samples import idx_files, image_folder, numbered, save_npz, write_files
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


def test_a_folder_called_like_a_data_set_is_passed_over_and_said(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image_folder(tmp_path / "digits")
    said = "passed over: digits here, called ./digits"
    assert said in read("digits").record.recognised
    assert said not in read("./digits").record.recognised
    with pytest.raises(InputError, match=r"^resize=2x2: has no effect on dataset=digits"):
        read("digits", resize=(2, 2))


@pytest.mark.parametrize("name", ["idx", "set.npz"])
def test_a_preparation_of_images_is_refused_where_there_is_no_folder_of_images(
    name, read, tmp_path
):
    write_files(tmp_path / "idx", idx_files())
    save_npz(tmp_path, x_train=numbered(9))
    for settings in (dict(resize=(2, 2)), dict(image_mode="gray")):
        with pytest.raises(InputError, match=r"has no effect on .*, no folder of images; leave"):
            read(str(tmp_path / name), **settings)


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
