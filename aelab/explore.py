"""The latent explorer: drag a point in the plane of the codes, and see it decoded.

In a live notebook it is a widget, whose ``z`` Python can read and set. Everywhere else
(a stored notebook, the site, slides) it is a page of its own in a frame, and a picture
with alt text for readers without JavaScript. The decoder runs in the page, in
``explorer.js``; no kernel and no network are needed.
"""

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise ImportError(
        "explore: expected anywidget, but it is not installed; "
        "pip install 'aelab[lectures]'"
    ) from error

SCRIPT = Path(__file__).with_name("explorer.js")
ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Identity: "identity",
    nn.ReLU: "relu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.GELU: "gelu",
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<body style="margin:0;font:14px sans-serif;color:#1f2430;background:#ffffff">
<script>{script}
mount(document.body, {data}, {z}, () => {{}});</script>
<noscript>The explorer needs JavaScript.</noscript></body></html>"""


class Explorer(anywidget.AnyWidget):
    """Planes of codes, each beside what the point in it decodes to.

    Parameters
    ----------
    models : dict from str to (model, codes)
        For each plane its title, a model with ``decoder`` (of linear layers and
        activations), ``output`` and ``latent_dim`` 2, and the codes to show, a Tensor
        of shape (n, 2): of the same examples for every model.
    labels : Tensor of shape (n,)
        Their classes, integers from 0 to 9, told apart by colour and marker.
    shape : tuple of int
        Height and width of the decoded images, in pixels.
    colors : sequence of str
        One colour a class.
    picture : object with ``png()`` and ``alt``
        What is shown where nothing can run: a figure of ``plots``.

    Attributes
    ----------
    z : dict from str to list of two floats
        The point of each plane, in units of the code. Assign a new dict to move it.

    Raises
    ------
    ValueError
        If a code is not two numbers long, or a decoder has a layer that the explorer
        does not know.
    """

    _esm = SCRIPT
    data = traitlets.Dict().tag(sync=True)
    z = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        models: Mapping[str, tuple[nn.Module, Tensor]],
        labels: Tensor,
        *,
        shape: tuple[int, int],
        colors: Any,
        picture: Any,
    ) -> None:
        planes = {
            name: _plane(name, model, codes, labels)
            for name, (model, codes) in models.items()
        }
        data = {"shape": list(shape), "colors": list(colors), "models": planes}
        super().__init__(data=data, z={name: [0.0, 0.0] for name in planes})
        self._picture = picture

    def page(self) -> str:
        """Return the explorer as a page of its own, HTML with everything inside.

        Returns
        -------
        str
        """
        script = SCRIPT.read_text(encoding="utf-8").split("// Exports")[0]
        # A script ends where "</script" stands, even within quotes.
        data, z = (
            json.dumps(value).replace("</", "<\\/") for value in (self.data, self.z)
        )
        title = "Latent explorer: " + ", ".join(self.data["models"])
        return PAGE.format(title=html.escape(title), script=script, data=data, z=z)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        formats, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        planes = len(self.data["models"])
        frame = (
            f'<iframe sandbox="allow-scripts" title="Latent explorer" loading="lazy" '
            f'style="border:0;width:100%;max-width:{450 * planes}px;height:330px" '
            f'srcdoc="{html.escape(self.page())}"></iframe>'
        )
        png = base64.b64encode(self._picture.png()).decode()
        alt = html.escape(self._picture.alt)
        still = f'<img alt="{alt}" src="data:image/png;base64,{png}">'
        formats["text/html"] = (
            f"{frame}<details open><summary>As a picture</summary>{still}</details>"
        )
        formats["text/plain"] = self._picture.alt
        return formats, metadata


def _plane(
    name: str, model: nn.Module, codes: Tensor, labels: Tensor
) -> dict[str, Any]:
    if codes.ndim != 2 or codes.shape[1] != 2 or len(codes) != len(labels):
        raise ValueError(
            f"explore: expected codes of shape ({len(labels)}, 2) for {name}, one a "
            f"label, but got {tuple(codes.shape)}; train a model with latent_dim=2"
        )
    half = 1.05 * codes.abs().max().item()
    return {
        "layers": _layers(name, model),
        "points": _base64(codes),
        "labels": labels.tolist(),
        "half": half,
    }


def _layers(name: str, model: nn.Module) -> list[dict[str, str]]:
    """Return the decoder as the weights, biases and activations of its layers."""
    layers: list[dict[str, str]] = []
    for module in (*model.decoder, model.output):  # type: ignore[misc]
        if isinstance(module, nn.Linear):
            bias = torch.zeros(module.out_features)
            bias = bias if module.bias is None else module.bias
            # Sixteen bits a weight, in units of its row: half of a stored notebook.
            largest = module.weight.abs().amax(dim=1, keepdim=True)
            unit = largest.clamp(min=1e-30) / 32767
            layer = {"weight": _base64((module.weight / unit).round(), "<i2")}
            layer |= {"unit": _base64(unit), "bias": _base64(bias)}
            layers.append(layer | {"activation": "identity"})
        elif type(module) in ACTIVATIONS and layers:
            if type(module) is not nn.Identity:
                layers[-1]["activation"] = ACTIVATIONS[type(module)]
        else:
            raise ValueError(
                f"explore: expected the decoder of {name} to have linear layers and "
                f"{', '.join(ACTIVATIONS.values())}, but got {type(module).__name__}; "
                "explore a model without convolutions"
            )
    return layers


def _base64(x: Tensor, kind: str = "<f4") -> str:
    values = x.detach().to("cpu", torch.float32).contiguous().numpy()
    return base64.b64encode(values.astype(kind).tobytes()).decode()
