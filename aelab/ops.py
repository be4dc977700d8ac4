"""The course's one operation: reparameterise and measure, in one pass.

``reparam_kl`` runs in ``csrc`` where the extension was built, and in plain PyTorch
elsewhere. ``reparam_kl_reference`` is the plain form, always: what the fused one is
tested against, and what runs under ``torch.func``'s transforms.
"""

from typing import Any

import torch
from torch import Tensor

from aelab import extension

__all__ = ["reparam_kl", "reparam_kl_reference"]

_C = extension.load()
_short_road: Any = _C and _C.reparam_kl
_is_compiling = torch.compiler.is_dynamo_compiling
_DTYPES = (torch.float32, torch.float64, torch.bfloat16)
_INT64 = torch.iinfo(torch.int64)


def reparam_kl(
    mu: Tensor,
    logvar: Tensor,
    eps: Tensor | None = None,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw z from N(mu, exp(logvar)), and take its KL divergence from N(0, 1).

    Parameters
    ----------
    mu : Tensor of shape (..., latent_dim)
        Means. float32, float64 or bfloat16.
    logvar : Tensor of shape (..., latent_dim)
        Natural logarithms of the variances.
    eps : Tensor of shape (..., latent_dim), optional
        The standard normal noise. Drawn if not given. Zeros give z = mu.
    generator : torch.Generator, optional
        Where the seed of the noise comes from: by default PyTorch's own generator
        of the device, so that ``torch.manual_seed`` reproduces the noise.

    Returns
    -------
    z : Tensor of shape (..., latent_dim)
        The sample, mu + exp(logvar / 2) eps: Eq. (4.9) of lecture 04a.
    kl : Tensor of shape (...)
        KL(N(mu, exp(logvar)) || N(0, 1)) in nats, summed over the last dimension:
        1/2 sum(mu^2 + exp(logvar) - 1 - logvar), Eq. (4.13).

    Raises
    ------
    TypeError
        If an argument is no Tensor, or of another dtype than float32, float64 and
        bfloat16, or of another dtype than mu.
    ValueError
        If shapes or devices differ, if mu is a scalar, or if both eps and a generator
        are given.

    Notes
    -----
    The gradients are Eq. (4.15) of lecture 04a.

    Drawn noise never lies in memory: element i is a function of one seed and of i, and
    the backward pass draws it again. So the same seed gives the same z, bit for bit,
    for any number of threads and any memory layout. bfloat16 is computed in float32;
    under autocast, both outputs are float32.

    References
    ----------
    Kingma and Welling, Auto-encoding variational Bayes, 2014, section 2.4 and appendix
    B. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011.
    """
    if _short_road is not None and not _is_compiling():
        done = _short_road(mu, logvar, eps, generator)
        if done is not None:  # plain eager mode: the short road of csrc/eager.cpp
            return done
    mu, logvar, eps = _enter(mu, logvar, eps, generator)
    if _C is None or mu.device.type not in _DEVICES or _transformed():
        return _reference(mu, logvar, eps, generator)
    z, kl, _ = torch.ops.aelab.reparam_kl(mu, logvar, eps, generator=generator)
    return z, kl


def reparam_kl_reference(
    mu: Tensor,
    logvar: Tensor,
    eps: Tensor | None = None,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Do what ``reparam_kl`` does, in plain PyTorch.

    Parameters
    ----------
    mu, logvar, eps, generator
        As for ``reparam_kl``.

    Returns
    -------
    z, kl : Tensor
        As for ``reparam_kl``; on the CPU from the same noise.

    Raises
    ------
    TypeError, ValueError
        As for ``reparam_kl``, in the same words.
    """
    mu, logvar, eps = _enter(mu, logvar, eps, generator)
    return _reference(mu, logvar, eps, generator)


def _reference(
    mu: Tensor, logvar: Tensor, eps: Tensor | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    dtype = mu.dtype
    if eps is None:
        seed = torch.randint(
            _INT64.min, _INT64.max, (2,), generator=generator, device=mu.device
        )
        eps = _noise(mu, seed)
    if dtype == torch.bfloat16:
        mu, logvar, eps = mu.float(), logvar.float(), eps.float()
    std = torch.exp(logvar / 2)
    z = mu + std * eps
    kl = ((mu.square() + (torch.expm1(logvar) - logvar)) / 2).sum(dim=-1)
    return z.to(dtype), kl.to(dtype)


def _noise(like: Tensor, seed: Tensor) -> Tensor:
    """Write out csrc/philox.h for whole tensors: float32 noise, shaped as like."""
    low = 0xFFFFFFFF
    index = torch.arange((like.numel() + 3) // 4, device=like.device)
    key, offset = seed[0] ^ 0x61656C6162000000, seed[1]
    key0, key1 = key & low, key >> 32 & low
    c0, c1 = index & low, index >> 32 & low
    c2, c3 = (offset & low).expand_as(c0), (offset >> 32 & low).expand_as(c0)
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1 = product1 >> 32 & low ^ c1 ^ key0, product1 & low
        c2, c3 = product0 >> 32 & low ^ c3 ^ key1, product0 & low
        key0, key1 = key0 + 0x9E3779B9 & low, key1 + 0xBB67AE85 & low
    words = torch.stack([c0, c1, c2, c3], dim=-1).reshape(-1, 2)
    u = (words[:, 0] >> 1 | 1).float().double() * 2.0**-31
    place = (words[:, 1] << 2 & low) - (words[:, 1] >> 29 & 1) * 2**32  # signed
    angle = (torch.pi / 4) * place.double() / 2**31
    sine, cosine = angle.sin(), angle.cos() * (1 - 2 * (words[:, 1] >> 31))
    swap = (words[:, 1] >> 30 & 1).bool()
    pair = torch.stack([sine.where(swap, cosine), cosine.where(swap, sine)], dim=-1)
    pairs = torch.sqrt(-2 * torch.log(u))[:, None] * pair
    return pairs.reshape(-1)[: like.numel()].reshape(like.shape).float()


def _transformed() -> bool:
    """Tell whether torch.func's transforms or forward-mode AD see these tensors."""
    return (
        torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


# --------------------------------------------------------------------------- checks
# The sentences of csrc/checks.h, for the paths that never reach it.


def _enter(
    mu: Tensor,
    logvar: Tensor,
    eps: Tensor | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check the arguments, and lift them to float32 under autocast."""
    named = {"mu": mu, "logvar": logvar} | ({} if eps is None else {"eps": eps})
    for name, x in named.items():
        if not isinstance(x, Tensor):
            raise TypeError(
                f"reparam_kl: expected {name} to be a Tensor, but got "
                f"{type(x).__name__}; convert it with torch.as_tensor"
            )
    device = mu.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        low = (torch.bfloat16, torch.float16)
        named = {k: x.float() if x.dtype in low else x for k, x in named.items()}
        mu = named["mu"]
    if mu.dtype not in _DTYPES:
        raise TypeError(
            "reparam_kl: expected mu of dtype float32, float64 or bfloat16, but got "
            f"{_name(mu.dtype)}; convert it with .float()"
        )
    if mu.layout != torch.strided:
        raise TypeError(
            "reparam_kl: expected a dense mu, but got a sparse one; convert it with "
            ".to_dense()"
        )
    if mu.dim() == 0:
        raise ValueError(
            "reparam_kl: expected mu of at least one dimension, the latent one, but "
            "got a scalar; use mu.unsqueeze(0)"
        )
    for name, x in named.items():
        _check_like_mu(mu, x, name)
    if generator is not None:
        _check_generator(mu, eps, generator)
    return mu, named["logvar"], named.get("eps")


def _check_like_mu(mu: Tensor, x: Tensor, name: str) -> None:
    if mu.shape != x.shape:
        raise ValueError(
            f"reparam_kl: expected mu and {name} of one shape, but got "
            f"{tuple(mu.shape)} and {tuple(x.shape)}; nothing is broadcast here, so "
            "expand one first"
        )
    if mu.dtype != x.dtype:
        raise TypeError(
            f"reparam_kl: expected mu and {name} of one dtype, but got "
            f"{_name(mu.dtype)} and {_name(x.dtype)}; convert one with .to(dtype)"
        )
    if mu.device != x.device:
        raise ValueError(
            f"reparam_kl: expected mu and {name} on one device, but got {mu.device} "
            f"and {x.device}; move one with .to(device)"
        )


def _check_generator(
    mu: Tensor, eps: Tensor | None, generator: torch.Generator
) -> None:
    if eps is not None:
        raise ValueError(
            "reparam_kl: expected eps or a generator, but got both; a given eps draws "
            "nothing, so leave the generator out"
        )
    if generator.device.type != mu.device.type:
        raise ValueError(
            f"reparam_kl: expected a generator on {mu.device}, where mu is, but got "
            f"one on {generator.device}; make it with "
            "torch.Generator(device=mu.device)"
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ------------------------------------------------------------ the fused op's autograd
# csrc computes; these lines tell PyTorch's compiler the shapes, and its autograd the
# derivatives.

if _C is not None:
    _DEVICES = ("cpu", "cuda", "meta") if extension.cuda_compiled() else ("cpu", "meta")

    @torch.library.register_fake("aelab::reparam_kl")
    def _(
        mu: Tensor,
        logvar: Tensor,
        eps: Tensor | None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        _enter(mu, logvar, eps, generator)
        z, kl = mu.new_empty(mu.shape), mu.new_empty(mu.shape[:-1])
        return z, kl, mu.new_empty((2,), dtype=torch.int64)

    @torch.library.register_fake("aelab::reparam_kl_backward")
    def _(
        grad_z: Tensor,
        grad_kl: Tensor,
        mu: Tensor,
        logvar: Tensor,
        eps: Tensor | None,
        seed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        # No checks: compiled autograd traces with made-up sizes of the gradients.
        return mu.new_empty(mu.shape), mu.new_empty(mu.shape)

    def _save(ctx: Any, inputs: Any, keyword_only_inputs: Any, output: Any) -> None:
        mu, logvar, eps = inputs
        ctx.save_for_backward(mu, logvar, eps, output[2])

    def _backward(ctx: Any, grad_z: Tensor, grad_kl: Tensor, _: Any) -> Any:
        mu, logvar, eps, seed = ctx.saved_tensors
        grad_mu, grad_logvar = torch.ops.aelab.reparam_kl_backward(
            grad_z, grad_kl, mu, logvar, eps, seed
        )
        grad_eps = grad_z * torch.exp(logvar / 2) if ctx.needs_input_grad[2] else None
        return grad_mu, grad_logvar, grad_eps

    def _save_backward(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    def _double_backward(ctx: Any, a: Tensor, b: Tensor) -> Any:
        # With grad_mu = gz + gk mu and grad_logvar = (gz eps std + gk expm1(v)) / 2,
        # this is the gradient of a . grad_mu + b . grad_logvar: plain PyTorch, so
        # that it can be differentiated again.
        gz, gk, mu, logvar, eps, seed = ctx.saved_tensors
        if eps is None:
            eps = _noise(mu, seed).to(mu.dtype)
        std, gk_row = torch.exp(logvar / 2), gk.unsqueeze(-1)
        return (
            a + b * eps * std / 2,
            (a * mu + b * torch.expm1(logvar) / 2).sum(dim=-1),
            a * gk_row,
            b * (gz * eps * std / 2 + gk_row * torch.exp(logvar)) / 2,
            b * gz * std / 2 if ctx.needs_input_grad[4] else None,
            None,
        )

    torch.library.register_autograd("aelab::reparam_kl", _backward, setup_context=_save)
    torch.library.register_autograd(
        "aelab::reparam_kl_backward", _double_backward, setup_context=_save_backward
    )
