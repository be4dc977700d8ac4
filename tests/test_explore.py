"""The latent explorer: its JavaScript decodes as torch does, in a page of its own."""

import base64
import html
import json
import re
import shutil
import struct
import subprocess
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from aelab import explore, plots
from aelab.models import VAE, Autoencoder

LABELS = torch.arange(12) % 10
STILL = SimpleNamespace(png=lambda: b"a picture", alt='Codes of "digits" <in> a plane.')


def codes(seed=0):
    return torch.randn(12, 2, generator=torch.Generator().manual_seed(seed))


def made(activation="relu", **options):
    torch.manual_seed(0)
    output = options.pop("output_activation", "sigmoid")
    return Autoencoder(12, 2, 16, activation=activation, output_activation=output)


def explorer(models=None, **options):
    models = models or {"Autoencoder": made(), "VAE": VAE(12, 2, 16)}
    shown = {name: (model, codes()) for name, model in models.items()}
    settings = {"shape": (3, 4), "colors": plots.CLASSES, "picture": STILL}
    return explore.Explorer(shown, LABELS, **(settings | options))


def html_of(widget):
    formats, _ = widget._repr_mimebundle_()
    return formats["text/html"]


# Shape and dtype


def test_every_plane_starts_in_the_middle_and_shows_all_points():
    widget = explorer()
    assert widget.z == {"Autoencoder": [0.0, 0.0], "VAE": [0.0, 0.0]}
    for plane in widget.data["models"].values():
        raw = base64.b64decode(plane["points"])
        points = torch.tensor(struct.unpack("<24f", raw)).reshape(12, 2)
        assert torch.equal(points, codes())
        assert plane["labels"] == LABELS.tolist()
        assert plane["half"] > codes().abs().max()


# Value against an outside oracle


DECODE = """
import fs from "fs";
const { decode, read } = await import(process.argv[2]);
const { z, layers } = JSON.parse(fs.readFileSync(0, "utf8"));
const decoder = layers.map(read);
console.log(JSON.stringify(z.map((one) => decode(decoder, one))));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_javascript_decodes_as_torch_does(activation, output, tmp_path):
    # Rejects weights read column by column, one unit for all rows, a bias left out,
    # gelu by its cheap form.
    model = made(activation, output_activation=output)
    z = 3 * torch.randn(100, 2, generator=torch.Generator().manual_seed(1))
    shutil.copy(explore.SCRIPT, tmp_path / "explorer.mjs")
    (tmp_path / "decode.mjs").write_text(DECODE)
    layers = explorer({"model": model}).data["models"]["model"]["layers"]
    done = subprocess.run(
        ["node", tmp_path / "decode.mjs", tmp_path / "explorer.mjs"],
        input=json.dumps({"z": z.tolist(), "layers": layers}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ours = torch.tensor(json.loads(done.stdout))
    torch.testing.assert_close(ours, model.decode(z).detach(), rtol=0, atol=1e-4)


# Property


def test_the_page_needs_nothing_from_outside():
    page = explorer().page()
    assert not re.search(r"https?:|\bimport\b|\bexport\b|\bsrc=|\bfetch\(", page)
    assert page.count("<script>") == page.count("</script>") == 1


def test_the_page_starts_where_the_points_stand():
    # Rejects: a start of its own, kept beside z.
    widget = explorer({"VAE": VAE(12, 2, 16)})
    widget.z = {"VAE": [0.5, -0.25]}
    assert ', {"VAE": [0.5, -0.25]}, () => {});</script>' in widget.page()


def test_no_title_can_end_the_script():
    name = "</script><script>alert(1)</script>"
    page = explorer({name: made()}).page()
    assert page.count("</script>") == 1
    assert "<title>Latent explorer: &lt;/script&gt;" in page


def test_a_stored_notebook_holds_a_sandboxed_page_and_a_picture():
    widget = explorer()
    text = html_of(widget)
    assert 'sandbox="allow-scripts"' in text
    inside = re.search(r'srcdoc="([^"]*)"', text)
    assert html.unescape(inside[1]) == widget.page()
    assert 'alt="Codes of &quot;digits&quot; &lt;in&gt; a plane."' in text
    assert base64.b64encode(b"a picture").decode() in text


def test_convolutions_apart_every_layer_is_known():
    known = [m for m in explore.ACTIVATIONS if m is not nn.Identity]
    for kind in known:
        model = SimpleNamespace(
            decoder=nn.Sequential(nn.Linear(2, 3), kind(), nn.Linear(3, 12)),
            output=nn.Identity(),
        )
        layers = explorer({"model": model}).data["models"]["model"]["layers"]
        assert [layer["activation"] for layer in layers] == [
            explore.ACTIVATIONS[kind],
            "identity",
        ]


# Error


def test_a_code_of_three_numbers_is_named():
    torch.manual_seed(0)
    shown = {"deep": (Autoencoder(12, 3), torch.zeros(12, 3))}
    with pytest.raises(ValueError, match=r"\(12, 2\) for deep, .* got \(12, 3\); tra"):
        explore.Explorer(
            shown, LABELS, shape=(3, 4), colors=plots.CLASSES, picture=STILL
        )


def test_a_layer_that_the_page_does_not_know_is_named():
    torch.manual_seed(0)
    model = Autoencoder(16, 2, (), channels=4)
    with pytest.raises(ValueError, match=r"decoder of conv .* but got Unflatten; exp"):
        explorer({"conv": model})
