from __future__ import annotations

import math

import forkserver
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning import Trainer
from omegaconf import OmegaConf
from tiny_runs import write_checkpoint
from variants import random_images

from pixelcnn_lit import configuration
from pixelcnn_lit.callbacks import Reconstructions
from pixelcnn_lit.commands.reconstruct import reconstruct, three_columns
from pixelcnn_lit.data import DigitsDataModule
from pixelcnn_lit.images import rescale
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models import LitConvAutoencoder, LitPixelCNN, LitPixelCNNAutoencoder
from pixelcnn_lit.models.tables import NETWORKS
from pixelcnn_lit.networks.encoder import ConvDecoder, ConvEncoder

DECODERS = ("pixelcnn", "gated", "pp")
TINY = {
    "pixelcnn": {
        "name": "pixelcnn",
        "num_layers": 1,
        "num_filters": 6,
        "num_hidden": 6,
        "bottleneck": False,
    },
    "gated": {"name": "gated", "num_layers": 2, "num_filters": 6, "num_hidden": 6},
    "pp": {"name": "pp", "num_resnet": 1, "num_hierarchies": 2, "num_filters": 6},
}


def autoencoder(decoder, channels=1, num_levels=4, image_size=(6, 5), **options):
    arguments = {"latent_dim": 3, "num_encoder_filters": 4, "network": TINY[decoder]} | options
    return LitPixelCNNAutoencoder(channels, num_levels, list(image_size), **arguments)


def digits(**options):
    return DigitsDataModule(**options)


def fit(model, folder, **options):
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        limit_train_batches=2,
        limit_val_batches=1,
        **options,
    )
    trainer.fit(model, digits(batch_size=16))
    return trainer


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.integers(1, 12))
def test_images_of_any_size_are_encoded_and_decoded(height, width, channels, latent_dim):
    encoder = ConvEncoder(channels, [height, width], latent_dim, num_filters=2)
    decoder = ConvDecoder(channels, [height, width], latent_dim, num_filters=2)
    codes = encoder(torch.zeros(2, channels, height, width))
    assert codes.shape == (2, latent_dim)
    assert decoder(codes).shape == (2, channels, height, width)


def test_the_code_sees_every_pixel():
    encoder = ConvEncoder(3, [13, 9], latent_dim=5, num_filters=4)
    x = torch.randn(1, 3, 13, 9, requires_grad=True)
    encoder(x).square().sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


def test_the_code_knows_how_bright_a_blank_image_is():
    encoder = ConvEncoder(1, [8, 8], latent_dim=5, num_filters=8)
    levels = torch.tensor([-1.0, -0.5, 0.5, 1.0]).view(4, 1, 1, 1)
    codes = encoder(levels.expand(4, 1, 8, 8))
    assert torch.pdist(codes).min() > 1e-2


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_code_of_an_image_is_its_own(decoder):
    model = autoencoder(decoder)
    images = random_images(model, 5)
    alone = torch.cat([model.encode(image[None]) for image in images])
    torch.testing.assert_close(model.encode(images), alone)


@pytest.mark.parametrize("decoder", DECODERS)
def test_log_prob_is_the_decoders_given_the_code_of_the_image(decoder):
    model = autoencoder(decoder, channels=3).eval()
    images = random_images(model, 4)
    x = rescale(images, 4)
    params = model.network(x, model.condition.encoder(x))
    by_hand = model.likelihood(params).log_prob(images.movedim(1, -1)).sum((1, 2))
    torch.testing.assert_close(model.log_prob(images), by_hand)
    torch.testing.assert_close(model.log_prob(images, model.encode(images)), by_hand)
    others = model.log_prob(images, model.encode(images).roll(1, 0))
    assert (others != by_hand).all()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_likelihood_of_an_image_moves_every_parameter_of_encoder_and_decoder(decoder, channels):
    model = autoencoder(decoder, channels=channels, image_size=(9, 8))
    model.log_prob(random_images(model, 3)).sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": {"name": "rnn"}}, "network.name=rnn: allowed are"),
        ({"network": {"name": "pp", "num_layers": 3}}, "network.num_layers=3: no such option"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"num_encoder_filters": 0}, "num_encoder_filters=0"),
        (
            {"network": {"name": "pp", "num_hierarchies": 5, "num_filters": 4}},
            "network.num_hierarchies=5: images of 6x5 allow",
        ),
        ({"network": {"kernel_size": 4}}, "network.kernel_size=4"),
    ],
)
def test_an_argument_out_of_range_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        LitPixelCNNAutoencoder(1, 4, [6, 5], **options)


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_left_out_stays_at_the_default_of_the_decoders_network(decoder):
    chosen = {"name": decoder, "num_filters": 6}
    model = LitPixelCNNAutoencoder(3, 9, [8, 8], latent_dim=7, network=chosen)
    made = NETWORKS[decoder]
    network = made(
        made.options_type(num_filters=6),
        3,
        model.likelihood.num_params,
        orders_channels=not model.likelihood.couples_channels,
        cond_channels=7,
    )
    shapes = {name: p.shape for name, p in model.network.named_parameters()}
    assert shapes == {name: p.shape for name, p in network.named_parameters()}


def test_images_cannot_be_drawn_without_codes_or_from_codes_of_another_length():
    model = autoencoder("gated")
    with pytest.raises(ValueError, match="decodes codes of size 3"):
        model.sample(2)
    with pytest.raises(ValueError, match=r"cond of shape \(2, 4\): allowed is \(2, 3\)"):
        model.decode(torch.zeros(2, 4))


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_trained_autoencoder_reloads_from_its_checkpoint_alone(decoder, tmp_path):
    model = LitPixelCNNAutoencoder(
        1, 17, [8, 8], latent_dim=3, num_encoder_filters=4, network=TINY[decoder]
    )
    trainer = fit(model, tmp_path)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = LitPixelCNNAutoencoder.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    images = random_images(model, 3)
    model.eval()
    again.eval()
    assert torch.equal(again.encode(images), model.encode(images))
    assert torch.equal(again.log_prob(images), model.log_prob(images))
    assert float(trainer.callback_metrics["val/bits_per_dim"]) > 0


@pytest.fixture(scope="module")
def twilight():
    """An autoencoder that has seen noisy images, bright or dark."""
    torch.manual_seed(0)
    sizes = {"name": "gated", "num_layers": 1, "num_filters": 8, "num_hidden": 8}
    arguments = {"network": sizes, "likelihood": {"name": "bernoulli"}, "latent_dim": 1}
    model = LitPixelCNNAutoencoder(1, 2, [4, 6], num_encoder_filters=4, **arguments)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(150):
        optimizer.zero_grad()
        (-model.log_prob(bright_or_dark(64)[0]).mean() / model.num_dims).backward()
        optimizer.step()
    return model.eval()


CHANCES = torch.tensor([0.1, 0.9])
"""Of a pixel to be set in a dark and in a bright image."""


def bright_or_dark(number):
    """Noisy images (N, 1, 4, 6), dark and bright in turn, and which are bright."""
    is_bright = torch.arange(number) % 2 == 1
    chances = CHANCES[is_bright.long()].view(-1, 1, 1, 1).expand(-1, 1, 4, 6)
    return torch.bernoulli(chances).to(torch.uint8), is_bright


def share_set(images):
    """How many of the pixels of each image are set, (N,)."""
    return (images > 0).float().flatten(1).mean(1)


def test_draws_resemble_the_image_that_was_encoded(twilight):
    images, is_bright = bright_or_dark(60)
    drawn = twilight.decode(twilight.encode(images), generator=torch.Generator().manual_seed(1))
    assert ((share_set(drawn) > 0.5) == is_bright).float().mean() > 0.95
    assert not torch.equal(drawn, images)


def test_two_draws_of_one_code_differ_and_the_same_seed_repeats_them(twilight):
    codes = twilight.encode(bright_or_dark(1)[0]).expand(8, -1)
    first, again = (
        twilight.decode(codes, generator=torch.Generator().manual_seed(2)) for _ in range(2)
    )
    assert torch.equal(first, again)
    assert len(first.flatten(1).unique(dim=0)) > 4


def test_interpolation_goes_from_one_image_to_the_other(twilight):
    codes = twilight.encode(bright_or_dark(80)[0])
    drawn = twilight.interpolate(
        codes[0::2], codes[1::2], 5, generator=torch.Generator().manual_seed(3)
    )
    assert drawn.shape == (5, 40, 1, 4, 6)
    shares = torch.stack([share_set(step).mean() for step in drawn])
    assert (shares.diff() > -0.05).all()
    assert shares[0] < 0.2
    assert shares[-1] > 0.8


def test_the_code_saves_the_bit_that_it_tells(twilight):
    # without a code nothing can do better than the process itself, which must be told which it is
    images, _ = bright_or_dark(400)
    pixels = torch.distributions.Bernoulli(CHANCES.view(2, 1, 1, 1)).log_prob(
        images[:, None].float()
    )
    process = -(pixels.sum((2, 3, 4)).logsumexp(1) - math.log(2)) / math.log(2)
    with torch.no_grad():
        bits = -twilight.log_prob(images) / math.log(2)
    assert bits.mean() < process.mean() - 0.5


def test_the_baselines_error_is_the_mean_square_per_image():
    model = LitConvAutoencoder(3, 16, [9, 6], latent_dim=4, num_encoder_filters=4)
    images = torch.randint(16, (3, 3, 9, 6), dtype=torch.uint8)
    x = images / 7.5 - 1
    with torch.no_grad():
        error = model.squared_error(images)
        reconstructed = model.network.decoder(model.network.encoder(x))
    for i in range(3):
        differences = (reconstructed[i] - x[i]).flatten().tolist()
        by_hand = sum(d * d for d in differences) / len(differences)
        assert float(error[i]) == pytest.approx(by_hand, rel=1e-4)


def test_the_baseline_decodes_to_the_nearest_level():
    model = LitConvAutoencoder(1, 5, [6, 6], latent_dim=4, num_encoder_filters=4)
    final = model.network.decoder.layers[-1]
    for value, level in [(-3.0, 0), (-1.0, 0), (-0.3, 1), (0.1, 2), (0.9, 4), (7.0, 4)]:
        torch.nn.init.zeros_(final.weight)
        torch.nn.init.constant_(final.bias, value)
        assert (model.decode(torch.randn(2, 4)) == level).all()


def test_the_baseline_learns_and_its_decoding_repeats_itself():
    torch.manual_seed(0)
    model = LitConvAutoencoder(1, 2, [4, 6], latent_dim=2, num_encoder_filters=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    errors = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = model.squared_error(bright_or_dark(64)[0]).mean()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    # all that can be known is which: what is left is the variance of a pixel, 4 · 0.9 · 0.1
    assert errors[-1] < 0.45 < errors[0]
    codes = model.encode(bright_or_dark(3)[0])
    assert torch.equal(model.decode(codes), model.decode(codes))
    assert model.interpolate(codes[:1], codes[1:2], 4).shape == (4, 1, 1, 4, 6)


def test_the_baseline_is_chosen_by_its_error(tmp_path):
    model = LitConvAutoencoder(1, 17, [8, 8], latent_dim=4, num_encoder_filters=4)
    trainer = fit(model, tmp_path)
    config = configuration.compose_config("train", ["model=conv_autoencoder"])
    assert config.callbacks.checkpoints.monitor in trainer.callback_metrics
    assert config.callbacks.curve.metric == "mse"
    assert "val/bits_per_dim" not in trainer.callback_metrics


def test_an_autoencoder_shows_reconstructions_in_the_place_of_samples():
    for variant in ("autoencoder", "conv_autoencoder"):
        config = configuration.compose_config("train", [f"model={variant}"])
        assert config.callbacks.samples is None
        assert isinstance(configuration.build(config, "callbacks.reconstructions"), Reconstructions)
        names = list(config.callbacks)
        assert names.index("reconstructions") < names.index("average")  # it shows the average
    assert configuration.compose_config("train", ["model=pp"]).callbacks.reconstructions is None


def tiles_of(picture, image, num_columns):
    """The tiles of a picture, shrunk again to (rows, columns, H, W) of bytes."""
    height, width = image.shape[-2] + 4, image.shape[-1] + 4
    factor = picture.shape[1] // (num_columns * width)
    small = picture[::factor, ::factor, 0]
    tiles = small.unflatten(0, (-1, height)).unflatten(2, (num_columns, width)).transpose(1, 2)
    return tiles[..., 2:-2, 2:-2]


def test_the_picture_shows_originals_draws_and_the_way_between_pairs(twilight):
    images, is_bright = bright_or_dark(6)
    callback = Reconstructions(num_images=6, num_draws=4, num_pairs=2)
    tiles = tiles_of(callback.picture(twilight, {"image": images}), images, 6)
    assert tiles.shape[:2] == (1 + 4 + 2, 6)
    originals = images[:, 0] * 255
    assert torch.equal(tiles[0], originals)
    for row in tiles[1:5]:
        assert ((share_set(row[:, None]) > 0.5) == is_bright).all()
    for pair, row in enumerate(tiles[5:]):
        assert torch.equal(row[0], originals[2 * pair])
        assert torch.equal(row[-1], originals[2 * pair + 1])


def test_the_baselines_picture_has_the_same_form():
    model = LitConvAutoencoder(1, 2, [4, 6], latent_dim=2, num_encoder_filters=4)
    images, _ = bright_or_dark(5)
    picture = Reconstructions(num_images=5, num_draws=1, num_pairs=2).picture(
        model, {"image": images}
    )
    tiles = tiles_of(picture, images, 5)
    assert torch.equal(tiles[0], images[:, 0] * 255)
    assert torch.equal(tiles[1], model.decode(model.encode(images))[:, 0] * 255)
    assert tiles.shape[:2] == (1 + 1 + 2, 5)


def test_pictures_leave_the_random_numbers_of_training_alone(tmp_path):
    weights = []
    for callbacks in ([], [Reconstructions(num_images=4, num_draws=1, num_pairs=1)]):
        torch.manual_seed(5)
        model = LitPixelCNNAutoencoder(
            1, 17, [8, 8], latent_dim=3, num_encoder_filters=4, network=TINY["pp"]
        )
        before = torch.get_rng_state()
        fit(model, tmp_path, callbacks=callbacks)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        assert not torch.equal(before, torch.get_rng_state())  # dropout drew
    assert torch.equal(*weights)
    assert [p.name for p in tmp_path.glob("reconstructions/*")] == ["epoch=000.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": 3}, "num_images=3: must be 4 or more"),
        ({"num_draws": 0}, "num_draws=0"),
        ({"every_n_epochs": 0}, "every_n_epochs=0"),
        ({"num_images": 4, "num_pairs": 3}, "num_pairs=3: num_images=4 has 2 pairs"),
    ],
)
def test_a_picture_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=f"callbacks.reconstructions.{message}"):
        Reconstructions(**options)


def test_the_three_columns_are_image_squared_error_and_draws(twilight):
    baseline = LitConvAutoencoder(1, 2, [4, 6], latent_dim=2, num_encoder_filters=4)
    images, is_bright = bright_or_dark(3)
    picture = three_columns(twilight, baseline, images, 5, torch.Generator().manual_seed(0))
    tiles = tiles_of(picture, images, 7)
    assert torch.equal(tiles[:, 0], images[:, 0] * 255)
    assert torch.equal(tiles[:, 1], baseline.decode(baseline.encode(images))[:, 0] * 255)
    for row, bright in zip(tiles[:, 2:], is_bright, strict=True):
        assert ((share_set(row[:, None]) > 0.5) == bright).all()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Tiny models of the digits, one in each run folder."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    models = {
        "autoencoder": LitPixelCNNAutoencoder(
            1, 17, [8, 8], latent_dim=3, num_encoder_filters=4, network=TINY["gated"]
        ),
        "baseline": LitConvAutoencoder(1, 17, [8, 8], latent_dim=3, num_encoder_filters=4),
        "other": LitPixelCNN(1, 17, [8, 8], network=TINY["pixelcnn"]),
    }
    for name, model in models.items():
        write_checkpoint(model, folder / name / "checkpoints" / "best.ckpt")
    return folder


def columns_config(folder, **options):
    runs = {name: f"{folder / name}" for name in ("autoencoder", "baseline")}
    config = configuration.compose_config("reconstruct", ["device=cpu"])
    return OmegaConf.merge(config, runs | options)


def test_the_command_draws_from_run_folders_and_from_checkpoints(checkpoints, tmp_path, capsys):
    for number, ending in enumerate(["", "/checkpoints/best.ckpt"]):
        runs = {name: f"{checkpoints}/{name}{ending}" for name in ("autoencoder", "baseline")}
        output = tmp_path / "new" / f"{number}.png"
        options = runs | {"output": str(output), "num_images": 2, "num_draws": 3}
        reconstruct(columns_config(checkpoints, **options))
        assert str(output) in capsys.readouterr().out
    first, second = ((tmp_path / "new" / f"{n}.png").read_bytes() for n in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("autoencoder", "nowhere"),
        ("baseline", "other"),
        ("output", "columns.txt"),
        ("output", "/dev/null/columns.png"),
        ("num_images", 0),
        ("num_draws", 0),
        ("data.num_levels", 18),
    ],
)
def test_the_command_refuses_what_does_not_belong_together_in_one_line(
    checkpoints, tmp_path, option, value
):
    config = columns_config(checkpoints, output=str(tmp_path / "columns.png"))
    OmegaConf.update(config, option, f"{checkpoints}/other" if value == "other" else value)
    with pytest.raises(OptionError, match=rf"^{option}=[^\n]*$"):
        reconstruct(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "metric", "curve"),
    [
        ("autoencoder", "bits_per_dim", "nll_curve.png"),
        ("conv_autoencoder", "mse", "mse_curve.png"),
    ],
)
def test_the_training_command_leaves_weights_numbers_curve_and_reconstructions(
    variant, metric, curve, tmp_path
):
    run = tmp_path / "run"
    options = [
        "trainer=cpu",
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=10",
        "logger=none",
    ]
    train = ["-m", "pixelcnn_lit", "train", f"model={variant}", f"run_dir={run}", *options]
    ended = forkserver.run(*train)
    assert ended.returncode == 0, ended.stderr
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {f"train/{metric}", f"val/{metric}", f"test/{metric}"} <= set(header)
    for file in ("checkpoints/best.ckpt", curve, "reconstructions/epoch=001.png"):
        assert (run / file).stat().st_size > 0
    assert not (run / "samples").exists()
