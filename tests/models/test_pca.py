"""PCA against scikit-learn, and the wrong answers that a check must reject."""

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import decomposition
from torch.testing import assert_close

import aelab.models.pca
from aelab.models import PCA


def points(n=200, d=6, *, seed=0, dtype=torch.float64):
    """Return points off the origin, with a different spread in every direction."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=dtype)
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=dtype)).Q
    return x * torch.arange(d, 0, -1).to(dtype) @ turn + 3


def oracle(x, k):
    return decomposition.PCA(k, svd_solver="full").fit(x.numpy())


# Shape and dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "d", "k"), [(41, 7, 1), (41, 7, 7), (5, 30, 4)])
def test_shapes_and_dtypes(n, d, k, dtype):
    x = points(n, d, dtype=dtype)
    model = PCA(k)
    assert model.fit(x) is model
    x_hat, z = model(x)
    shapes = {
        "mean_": (d,),
        "components_": (k, d),
        "singular_values_": (k,),
        "explained_variance_": (k,),
        "explained_variance_ratio_": (k,),
    }
    for name, shape in shapes.items():
        value = getattr(model, name)
        assert (tuple(value.shape), value.dtype) == (shape, dtype), name
    assert (tuple(z.shape), z.dtype) == ((n, k), dtype)
    assert (tuple(x_hat.shape), x_hat.dtype) == ((n, d), dtype)
    assert model.latent_dim == k
    assert repr(model) == f"PCA(n_components={k})"


def test_forward_is_encode_and_decode_and_takes_any_number_of_rows():
    model = PCA(2).fit(points())
    for rows in (points(3), points(1), points(4)[:0]):
        output = model.forward(rows)
        assert_close(output.z, model.encode(rows))
        assert_close(output.x_hat, model.decode(output.z))
    assert output._fields == ("x_hat", "z")


def test_rows_need_not_be_contiguous():
    x = points()
    assert_close(PCA(3).fit(x.T.contiguous().T).components_, PCA(3).fit(x).components_)


# Value against an outside oracle


def check_components(model_class, x, k):
    theirs = torch.tensor(oracle(x, k).components_)
    cosines = (model_class(k).fit(x).components_ * theirs).sum(dim=1).abs()
    assert_close(cosines, torch.ones_like(cosines))


def check_variance(model_class, x, k):
    model, theirs = model_class(k).fit(x), oracle(x, k)
    assert_close(model.explained_variance_, torch.tensor(theirs.explained_variance_))
    ratio = torch.tensor(theirs.explained_variance_ratio_)
    assert_close(model.explained_variance_ratio_, ratio)
    assert_close(model.singular_values_, torch.tensor(theirs.singular_values_))


def check_codes(model_class, x, k):
    theirs = torch.tensor(oracle(x, k).transform(x.numpy()))
    assert_close(model_class(k).fit(x)(x).z.abs(), theirs.abs())


def check_reconstruction(model_class, x, k):
    theirs = oracle(x, k)
    expected = theirs.inverse_transform(theirs.transform(x.numpy()))
    assert_close(model_class(k).fit(x)(x).x_hat, torch.tensor(expected))


CHECKS = {
    "components": check_components,
    "variance": check_variance,
    "codes": check_codes,
    "reconstruction": check_reconstruction,
}


@pytest.mark.parametrize("n", [8, 200])
@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_equals_scikit_learn(check, k, n):
    check(PCA, points(n), k)


SVD = "torch.linalg.svd(x - mean, full_matrices=False)"
# Wrong answer: (the original's text, the mutant's, a check that must reject it).
MUTANTS = {
    "no centring": (SVD, SVD.replace(" - mean", ""), "components"),
    "centring forgotten in encode": ("(x - self.mean_) @", "x @", "codes"),
    "mean not added back": ("self.mean_ + z @", "z @", "reconstruction"),
    "n for n - 1": ("s.square() / (n - 1)", "s.square() / n", "variance"),
    "singular values for variances": ("s.square()", "s", "variance"),
    "components as columns": (
        "largest = vt[:k]", "vt = vt.T; largest = vt[:k]", "components"),
    "sign-flipped reconstruction": (
        "self.mean_ + z @", "self.mean_ - z @", "reconstruction"),
    "k off by one": ("vt[:k] * vt[:k]", "vt[1 : k + 1] * vt[1 : k + 1]", "components"),
    "k off by one in the variances": (
        "= variance[:k]  #", "= variance[1 : k + 1]  #", "variance"),
}  # fmt: skip


def mutant(old, new):
    """Return the class PCA from a changed source."""
    source = inspect.getsource(aelab.models.pca)
    assert source.count(old) == 1, f"the original has not exactly one {old!r}"
    namespace = {"__name__": "mutant"}
    exec(source.replace(old, new), namespace)
    return namespace["PCA"]


@pytest.mark.parametrize(("old", "new", "check"), MUTANTS.values(), ids=MUTANTS)
def test_a_wrong_answer_is_rejected(old, new, check):
    CHECKS[check](PCA, points(40), 3)
    with pytest.raises(AssertionError):
        CHECKS[check](mutant(old, new), points(40), 3)


def test_the_table_of_two_points_by_hand():
    model = PCA(1).fit(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    assert_close(model.mean_, torch.tensor([1.0, 0.0]))
    assert_close(model.components_, torch.tensor([[1.0, 0.0]]))
    assert_close(model.explained_variance_, torch.tensor([2.0]))  # 1 + 1 over n - 1
    assert_close(model.explained_variance_ratio_, torch.tensor([1.0]))


# Property


@given(
    n=st.integers(3, 30),
    d=st.integers(1, 12),
    k=st.integers(1, 12),
    seed=st.integers(0, 2**31),
)
def test_properties_of_any_fit(n, d, k, seed):
    x = points(n, d, seed=seed)
    k = min(k, n - 1, d)
    model = PCA(k).fit(x)
    x_hat, z = model(x)
    v = model.components_
    assert_close(v @ v.T, torch.eye(k, dtype=x.dtype))
    assert_close(model.encode(x_hat), z)  # twice is once
    assert_close(z.mean(dim=0), torch.zeros(k, dtype=x.dtype))
    assert_close(model.decode(torch.zeros_like(z[:1]))[0], x.mean(dim=0))
    assert (model.explained_variance_.diff() <= 0).all()
    kept = (x_hat - model.mean_).square().sum() + (x - x_hat).square().sum()
    assert_close(kept, (x - model.mean_).square().sum())  # Pythagoras


def test_all_directions_give_the_data_back():
    for n, d in ((200, 6), (5, 30)):
        x = points(n, d)
        assert_close(PCA(min(n - 1, d)).fit(x)(x).x_hat, x)


def test_the_largest_entry_of_each_component_is_positive():
    v = PCA(6).fit(points()).components_
    assert (v.gather(1, v.abs().argmax(dim=1, keepdim=True)) > 0).all()


def test_signs_do_not_depend_on_the_order_or_the_sign_of_the_rows():
    x = points()
    v = PCA(4).fit(x).components_
    assert_close(PCA(4).fit(x.flip(0)).components_, v)
    assert_close(PCA(4).fit(-x).components_, v)


def test_smaller_fits_are_the_beginning_of_larger_ones():
    x = points()
    small, large = PCA(2).fit(x), PCA(5).fit(x)
    assert_close(small.components_, large.components_[:2])
    assert_close(small.explained_variance_ratio_, large.explained_variance_ratio_[:2])


def test_a_second_fit_forgets_the_first():
    model = PCA(2).fit(points(seed=1)).fit(points(seed=2))
    assert_close(model.components_, PCA(2).fit(points(seed=2)).components_)


def test_the_input_is_left_alone_and_gradients_pass():
    x = points().requires_grad_()
    before = x.detach().clone()
    model = PCA(2).fit(x.detach())
    model(x).x_hat.sum().backward()
    assert_close(x.detach(), before)
    assert x.grad is not None


# Error


@pytest.mark.parametrize("bad", [2.0, "2", None, True])
def test_n_components_of_a_wrong_type(bad):
    with pytest.raises(TypeError, match="expected n_components to be an int, but got"):
        PCA(bad)


@pytest.mark.parametrize("bad", [0, -1])
def test_n_components_too_small(bad):
    with pytest.raises(ValueError, match=f"expected n_components >= 1, but got {bad}"):
        PCA(bad)


@pytest.mark.parametrize(
    ("n", "d", "k", "most"),
    [(70, 625, 70, 69), (200, 6, 7, 6), (1, 3, 1, 0), (0, 3, 1, 0)],
)
def test_more_components_than_directions(n, d, k, most):
    message = rf"n_components <= min\(n - 1, d\) = {most}, but got {k}; {n} centred"
    with pytest.raises(ValueError, match=message):
        PCA(k).fit(points(n, d))


def test_equal_rows():
    x = torch.full((100, 3), 0.1)
    with pytest.raises(
        ValueError, match="expected rows that differ, but got 100 equal"
    ):
        PCA(1).fit(x)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[1.0, 2.0]], TypeError, "floating-point tensor, but got list"),
        (torch.ones(3, 2, dtype=torch.int64), TypeError, "but got torch.int64"),
        (torch.ones(3, 2, dtype=torch.complex64), TypeError, "but got torch.complex64"),
        (torch.ones(4, 8, 8), ValueError, r"got shape \(4, 8, 8\); use flatten\(1\)"),
        (torch.ones(4), ValueError, r"two dimensions, one example a row, but got"),
        (
            torch.tensor([[1.0], [torch.nan]]),
            ValueError,
            "expected finite numbers in x",
        ),
        (torch.tensor([[1.0], [torch.inf]]), ValueError, "but got inf or nan"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "encode"])
def test_what_is_no_matrix_of_numbers(method, x, error, message):
    model = PCA(1)
    if method == "encode":
        model.fit(torch.tensor([[0.0], [1.0]]))
    with pytest.raises(error, match=rf"PCA\.{method}: .*{message}"):
        getattr(model, method)(x)


@pytest.mark.parametrize("method", ["encode", "decode", "forward"])
def test_use_before_fit(method):
    with pytest.raises(RuntimeError, match=r"expected a fitted model.*call fit\(x\)"):
        getattr(PCA(1), method)(torch.ones(2, 2))


def test_rows_of_another_width():
    model = PCA(2).fit(points())
    with pytest.raises(ValueError, match=r"PCA.encode: expected x of shape \(n, 6\)"):
        model.encode(points(3, 5))
    with pytest.raises(ValueError, match=r"PCA.decode: expected z of shape \(n, 2\)"):
        model.decode(points(3, 6))
