"""Set 01, PCA: what a right answer is, and which wrong ones are known."""

import numpy as np
import torch

from aelab import data
from aelab.grading.exam import Digits, Strided, flipped
from aelab.grading.specification import Marks, Mistake, Question
from aelab.models import PCA


def cloud(generator, n, d, k=0, far=1.0, dtype=torch.float32):
    """Return a cloud with standard deviations like 3, 2.25, 1.69, ..., moved away.

    They are well apart, so that rounding turns no component. With k > 0, each wrong
    rule for the signs of the first k components is wrong on this very cloud.
    """
    r = min(n - 1, d)
    size, fall = torch.rand(2, generator=generator, dtype=torch.float64)
    spread = (2.0 + 2.0 * size) * (0.74 + 0.06 * fall) ** torch.arange(r)
    while True:
        flat = torch.randn(n, r, generator=generator, dtype=torch.float64)
        flat = torch.linalg.qr(flat - flat.mean(dim=0)).Q * (n - 1) ** 0.5
        turn = torch.randn(d, d, generator=generator, dtype=torch.float64)
        turn = torch.linalg.qr(turn).Q[:r]
        shift = far * torch.randn(d, generator=generator, dtype=torch.float64)
        x = (flat * spread @ turn + shift).to(dtype)
        if k == 0 or signs_matter(x, k):
            return x


def signs_matter(x, k):
    """Say whether wrong signs show: by first, last, smallest, sum, or as they come."""
    _, right, _ = (torch.from_numpy(t) for t in pca_in_numpy(x.double(), k))
    size = right.abs().sort(dim=1).values
    svd = torch.linalg.svd(x - x.mean(dim=0), full_matrices=False).Vh[:k]
    eigh = torch.linalg.eigh(x.T.cov()).eigenvectors.T.flip(0)[:k]
    least = right.gather(1, right.abs().argmin(dim=1, keepdim=True))
    rules = [right[:, 0], right[:, -1], least, right.sum(dim=1)]
    rules += [(found * right).sum(dim=1) for found in (svd, eigh)]
    clear = (size[:, -1] - size[:, -2]).min() > 1e-2
    return clear and all((rule < -1e-2).any() for rule in rules)


def pca_in_numpy(x, k):
    """Return mean, components and variances by the covariance matrix."""
    x = x.numpy()
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False).reshape(x.shape[1], -1))
    components = vectors.T[::-1][:k]
    rows = np.arange(k), np.abs(components).argmax(axis=1)
    components = components * np.sign(components[rows])[:, None]
    return x.mean(axis=0), components.copy(), values[::-1][:k].copy()


def pca_by_covariance(x, k):
    """Return PCA by eigenvectors of the covariance matrix, a column at a time."""
    mean = x.sum(0) / x.shape[0]
    centred = x - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / (x.shape[0] - 1))
    components, variances = [], []
    for i in range(k):
        v = vectors[:, -1 - i]
        components.append(v if v[v.abs().argmax()] > 0 else -v)
        variances.append(values[-1 - i])
    return mean, torch.stack(components), torch.stack(variances)


def pca_in_float64(x, k):
    """Return PCA computed in float64, and rounded at the end."""
    mean, components, variances = pca_by_covariance(x.double(), k)
    return mean.to(x.dtype), components.to(x.dtype), variances.to(x.dtype)


def pca_by_pursuit(x, k):
    """Return PCA by one direction after the other, each taken out of the data."""
    mean = x.mean(dim=0)
    rest, components, variances = (x - mean).double(), [], []
    for _ in range(k):
        _, _, vt = torch.linalg.svd(rest, full_matrices=False)
        v = vt[0] * vt[0][vt[0].abs().argmax()].sign()
        components.append(v)
        variances.append((rest @ v).square().sum() / (len(x) - 1))
        rest = rest - (rest @ v)[:, None] * v
    found = torch.stack(components), torch.stack(variances)
    return mean, *(t.to(x.dtype) for t in found)


def pca_by_the_library(x, k):
    """Return what aelab gives: forbidden here."""
    fitted = PCA(k).fit(x)
    return fitted.mean_, fitted.components_, fitted.explained_variance_


q1 = Question(
    title="The components of a cloud",
    answer="pca",
    signature=["x", "k"],
    results=["mean", "components", "variances"],
    cases={
        "a cloud in four dimensions": lambda g: (cloud(g, 11, 4, 2), 2),
        "a cloud in eight dimensions": lambda g: (cloud(g, 20, 8, 6), 6),
        "as many components as columns": lambda g: (cloud(g, 20, 6, 6), 6),
        "one component": lambda g: (cloud(g, 12, 3, 1, far=20.0), 1),
        "five of six components": lambda g: (cloud(g, 16, 6, 5, far=20.0), 5),
        "six of eight components": lambda g: (cloud(g, 24, 8, 6, far=20.0), 6),
        "fewer rows than columns": lambda g: (cloud(g, 4, 5, 2), 2),
        "float64": lambda g: (cloud(g, 6, 3, 2, far=3.0, dtype=torch.float64), 2),
        "few rows, many columns": lambda g: (cloud(g, 8, 9, 6), 6),
        "a tensor with gaps": lambda g: (Strided(cloud(g, 24, 8, 6, far=3.0)), 6),
    },
    reference=pca_in_numpy,
    marks=[
        Marks(
            "the components of a cloud",
            2,
            [
                "a cloud in four dimensions",
                "a cloud in eight dimensions",
                "as many components as columns",
            ],
            "take a cloud in two dimensions, and compare with the similar example",
        ),
        Marks(
            "clouds far from the origin",
            2,
            ["one component", "five of six components", "six of eight components"],
            "which is the first direction of a cloud that lies far away?",
        ),
        Marks(
            "other shapes and dtypes",
            1,
            [
                "fewer rows than columns",
                "float64",
                "few rows, many columns",
                "a tensor with gaps",
            ],
            "n may be smaller than d, and x may be float64",
        ),
    ],
    forbidden=["aelab.models.PCA"],
    hidden={
        "a cloud in eight dimensions",
        "as many components as columns",
        "five of six components",
        "six of eight components",
        "few rows, many columns",
        "a tensor with gaps",
    },
    right=[pca_by_covariance, pca_in_float64, pca_by_pursuit],
    mistakes=[
        Mistake(
            "no centring",
            0,
            "These are the directions from the origin: subtract the mean of each "
            "column first.",
            {"svd(x - mean,": "svd(x,"},
        ),
        Mistake(
            "n for n - 1",
            0,
            "The variances are divided by n; n - 1 was asked for.",
            {"(len(x) - 1)": "len(x)"},
        ),
        Mistake(
            "components as columns",
            0,
            "The components stand in columns; they should be rows.",
            {"return mean, components,": "return mean, components.T,"},
        ),
        Mistake(
            "signs as they come",
            0,
            "The directions are right, but some point the other way: see the task for "
            "the sign.",
            {"components * components.gather(1, largest).sign()": "components"},
        ),
        Mistake(
            "sign of the first entry",
            0,
            "The sign is that of the first entry; it should be that of the largest.",
            {".argmax(dim=1, keepdim=True)": ".argmax(dim=1, keepdim=True) * 0"},
        ),
        Mistake(
            "sign of the sum",
            0,
            "The sign is that of the sum; it should be that of the largest entry.",
            {
                "components.gather(1, largest).sign()": "components.sum("
                "dim=1, keepdim=True).sign()"
            },
        ),
        Mistake(
            "largest entry negative",
            0,
            "All directions are turned round: the largest entry should be positive.",
            {"= components * components.gather": "= -components * components.gather"},
        ),
        Mistake(
            "k off by one",
            0,
            "That is one component too many.",
            {"vt[:k]": "vt[: k + 1]", "s[:k]": "s[: k + 1]"},
        ),
        Mistake(
            "smallest first",
            0,
            "These are the directions of the *smallest* variances.",
            {"vt[:k]": "vt.flip(0)[:k]", "s[:k]": "s.flip(0)[:k]"},
        ),
        Mistake(
            "standard deviations for variances",
            0,
            "These are standard deviations; a variance is the square of one.",
            {"s[:k] ** 2 / (len(x) - 1)": "s[:k] / (len(x) - 1) ** 0.5"},
        ),
        Mistake(
            "singular values for variances",
            0,
            "These are singular values; what has n to do with a variance?",
            {"s[:k] ** 2 / (len(x) - 1)": "s[:k]"},
        ),
        Mistake(
            "shares for variances",
            0,
            "These are shares of the total; the variances themselves were asked for.",
            {"s[:k] ** 2 / (len(x) - 1)": "s[:k] ** 2 / s.square().sum()"},
        ),
        Mistake(
            "left singular vectors",
            0,
            "These are left singular vectors: they belong to the rows of x, not to its "
            "columns.",
            {"_, s, vt = torch": "vt, s, _ = torch"},
        ),
        Mistake(
            "columns for rows of the singular vectors",
            0,
            "These numbers come from all the directions: in svd's Vh each *row* is "
            "one, among eigh's eigenvectors each *column*.",
            {"vt[:k]": "vt[:, :k].T"},
        ),
        Mistake(
            "columns divided by their deviations",
            0,
            "The columns are divided by their standard deviations first; only the mean "
            "is to be taken away.",
            {"svd(x - mean,": "svd((x - mean) / x.std(dim=0),"},
        ),
        Mistake(
            "one mean for all columns",
            0,
            "There is one mean here for all columns; each has its own.",
            {"x.mean(dim=0)": "x.mean().expand(x.shape[1])"},
        ),
        Mistake(
            "float32 whatever comes",
            4,
            "",
            {"mean = x.mean(dim=0)": "x = x.float()\n    mean = x.mean(dim=0)"},
        ),
        Mistake(
            "centred in place",
            0,
            "",
            {
                "_, s, vt = torch.linalg.svd(x - mean,": "x -= mean\n    "
                "_, s, vt = torch.linalg.svd(x,"
            },
        ),
        Mistake("calls the library", 0, function=pca_by_the_library),
    ],
)


def fitted(x, k):
    """Return mean, the first k components and all variances of x, in its dtype."""
    r = min(len(x) - 1, x.shape[1])
    mean, components, variances = pca_in_numpy(x.double(), r)
    return tuple(
        torch.from_numpy(t).to(x.dtype) for t in (mean, components[:k], variances)
    )


def sent(generator, n, d, k, m=-1, far=3.0, dtype=torch.float32):
    """Return m new rows, or those of the fit, and a PCA fitted to n rows."""
    train = cloud(generator, n, d, far=far, dtype=dtype)
    new = 2.0 + train[:1] + 2.0 * torch.randn(max(m, 0), d, generator=generator)
    return train if m < 0 else new.to(dtype), *fitted(train, k), n


def gaps(x, *rest):
    """Return arguments whose first has gaps in its memory."""
    return Strided(x), *rest


def rebuild_in_numpy(x, mean, components, variances, n):
    """Return reconstructions, errors, and the error foretold, by least squares."""
    x, mean, components = (t.numpy() for t in (x, mean, components))
    codes = np.linalg.lstsq(components.T, (x - mean).T, rcond=None)[0]
    x_hat = mean + codes.T @ components
    left_out = [float(v) for v in variances][len(components) :]
    foretold = sum(left_out) - sum(v / n for v in left_out)
    return x_hat, ((x - x_hat) ** 2).sum(axis=1), np.float64(foretold)


def rebuild_row_by_row(x, mean, components, variances, n):
    """Return the same, a row and a component at a time."""
    x_hat, errors = torch.empty_like(x), torch.zeros_like(x[:, 0])
    for i, row in enumerate(x):
        x_hat[i] = mean
        for v in components:
            x_hat[i] += v.dot(row - mean) * v
        for j in range(len(row)):
            errors[i] += (row[j] - x_hat[i, j]) ** 2
    foretold = 0.0
    for j in range(len(components), len(variances)):
        foretold += variances[j].item() * (n - 1) / n
    return x_hat, errors, torch.tensor(foretold, dtype=x.dtype)


def rebuild_by_projector(x, mean, components, variances, n):
    """Return the same by a projector, and the total less what was kept."""
    outside = torch.eye(len(mean), dtype=x.dtype) - components.T @ components
    lost = (x - mean) @ outside
    tail = variances.sum() - variances[: len(components)].sum()
    return x - lost, lost.norm(dim=1) ** 2, tail - tail / n


def rebuild_in_float64(x, mean, components, variances, n):
    """Return the same in float64, errors by Pythagoras, rounded at the end."""
    centred, v = x.double() - mean.double(), components.double()
    z = centred @ v.T
    errors = centred.square().sum(dim=1) - z.square().sum(dim=1)
    foretold = variances.double()[len(v) :].sum() * (1 - 1 / n)
    found = mean.double() + z @ v, errors, foretold
    return tuple(t.to(x.dtype) for t in found)


def rebuild_by_the_library(x, mean, components, variances, n):
    """Return what aelab gives: forbidden here."""
    pca = PCA(len(components))
    pca.mean_, pca.components_ = mean, components
    x_hat = pca(x).x_hat
    left_out = variances[len(components) :].sum()
    return x_hat, (x - x_hat).square().sum(dim=1), (n - 1) / n * left_out


q2 = Question(
    title="There and back, and what it costs",
    answer="rebuild",
    signature=["x", "mean", "components", "variances", "n"],
    results=["x_hat", "errors", "foretold"],
    cases={
        "the rows of the fit": lambda g: sent(g, 5, 4, 2),
        "the rows of the fit, far from the origin": lambda g: sent(g, 9, 5, 2, far=20),
        "new rows": lambda g: sent(g, 6, 4, 2, m=2),
        "one new row": lambda g: sent(g, 7, 4, 1, m=1),
        "many new rows": lambda g: sent(g, 10, 6, 3, m=20),
        "nothing left out": lambda g: sent(g, 5, 8, 4, m=3),
        "float64": lambda g: sent(g, 6, 3, 2, m=2, dtype=torch.float64),
        "no rows": lambda g: sent(g, 6, 3, 2, m=0),
        "a tensor with gaps": lambda g: gaps(*sent(g, 12, 6, 3, m=5)),
    },
    reference=rebuild_in_numpy,
    marks=[
        Marks(
            "the rows of the fit",
            1,
            ["the rows of the fit", "the rows of the fit, far from the origin"],
            "here the mean of your errors should be what you foretell, Eq. (1.10)",
        ),
        Marks(
            "other rows",
            2,
            ["new rows", "one new row", "many new rows", "nothing left out"],
            "mean, components and foretold belong to the rows of the fit, not to x",
        ),
        Marks(
            "other shapes and dtypes",
            1,
            ["float64", "no rows", "a tensor with gaps"],
            "m may be 0, and x may be float64",
        ),
    ],
    forbidden=["aelab.models.PCA"],
    hidden={
        "the rows of the fit, far from the origin",
        "many new rows",
        "nothing left out",
        "no rows",
        "a tensor with gaps",
    },
    right=[rebuild_row_by_row, rebuild_by_projector, rebuild_in_float64],
    mistakes=[
        Mistake(
            "no centring",
            0,
            "The codes are those of rows that were not centred: the code zero stands "
            "for the mean.",
            {"(x - mean) @": "x @"},
        ),
        Mistake(
            "mean not added back",
            0,
            "These reconstructions lie round the origin: the decoder adds the mean.",
            {"mean + z @": "z @"},
        ),
        Mistake(
            "no mean at all",
            0,
            "There is no mean here, neither on the way in nor on the way out: Eq. "
            "(1.9) has it twice.",
            {"(x - mean) @": "x @", "mean + z @": "z @"},
        ),
        Mistake(
            "sign-flipped reconstruction",
            0,
            "The reconstructions are mirror images, on the other side of the mean: a "
            "sign is wrong.",
            {"mean + z @": "mean - z @"},
        ),
        Mistake(
            "the mean of x",
            1,
            "The rows are centred with a mean of their own; new rows have to take that "
            "of the fit.",
            {"k = len(components)": "mean = x.mean(dim=0)\n    k = len(components)"},
        ),
        Mistake(
            "components as columns",
            0,
            "The numbers of components are read down the columns; each row is a "
            "direction.",
            {
                "@ components.T": "@ components.reshape(-1, k)",
                "z @ components": "z @ components.reshape(-1, k).T",
            },
        ),
        Mistake(
            "k off by one",
            0,
            "One component too few is used.",
            {
                "k = len(components)": "components = components[:-1]\n    "
                "k = len(components)"
            },
        ),
        Mistake(
            "the tail starts too early",
            0,
            "The sum takes in the last variance that is kept; with k components, which "
            "is the first that is not?",
            {"variances[k:]": "variances[k - 1 :]"},
        ),
        Mistake(
            "the tail starts too late",
            0,
            "The sum misses the first variance that is left out.",
            {"variances[k:]": "variances[k + 1 :]"},
        ),
        Mistake(
            "all variances foretold",
            0,
            "This is the sum of *all* variances; the first k of them are kept.",
            {"variances[k:]": "variances"},
        ),
        Mistake(
            "n for n - 1",
            0,
            "The variances have n - 1 in the denominator, and the mean error n: see "
            "what stands before the sum in Eq. (1.10).",
            {"(n - 1) / n * ": ""},
        ),
        Mistake(
            "n / (n - 1)",
            0,
            "The factor is upside down: the mean error over n rows is smaller than the "
            "sum of the variances.",
            {"(n - 1) / n * ": "n / (n - 1) * "},
        ),
        Mistake(
            "the number of rows of x for n",
            1,
            "The factor is that of the rows of x; the variances belong to the n rows "
            "of the fit.",
            {"(n - 1) / n * ": "(len(x) - 1) / max(len(x), 1) * "},
        ),
        Mistake(
            "measured, not foretold",
            1,
            "That is the mean of the errors of x; what was asked for is the mean error "
            "of the rows of the fit, which follows from the variances.",
            {"(n - 1) / n * variances[k:].sum()": "errors.mean()"},
        ),
        Mistake(
            "what is kept for what is lost",
            0,
            "The sum is that of the variances that are kept; the error is the rest.",
            {"variances[k:]": "variances[:k]"},
        ),
        Mistake(
            "a share for an error",
            0,
            "That is the share of the variance that is lost; the error has a scale.",
            {"variances[k:].sum()": "variances[k:].sum() / variances.sum()"},
        ),
        Mistake(
            "a mean over the columns",
            0,
            "The errors are divided by the number of columns: a squared distance is a "
            "sum.",
            {"square().sum(dim=1)": "square().mean(dim=1)"},
        ),
        Mistake(
            "distances, not squared",
            0,
            "These are distances; squared distances were asked for.",
            {"square().sum(dim=1)": "norm(dim=1)"},
        ),
        Mistake(
            "float32 whatever comes",
            3,
            "",
            {
                "z = (x - mean)": "x, mean = x.float(), mean.float()\n    "
                "components, variances = components.float(), variances.float()\n    "
                "z = (x - mean)"
            },
        ),
        Mistake(
            "centred in place",
            0,
            "",
            {
                "z = (x - mean)": "x -= mean\n    z = x",
                "(x - x_hat)": "(x + mean - x_hat)",
            },
        ),
        Mistake("calls the library", 0, function=rebuild_by_the_library),
    ],
)


def split(generator, n, d, m, k, dtype=torch.float32):
    """Return rows to fit, m other rows from a place beside, and k; m = 0: the same."""
    train = cloud(generator, n, d, far=3.0, dtype=dtype)
    new = 1.5 + train.mean(dim=0) + 1.5 * torch.randn(max(m, 1), d, generator=generator)
    return train, new.to(dtype) if m else train.clone(), k


def kept_in_numpy(train, x, k):
    """Return the shares kept, by reconstructions with 1, 2, ..., k components."""
    mean, components, _ = pca_in_numpy(train, k)
    centred = x.numpy() - mean
    shares = []
    for j in range(1, k + 1):
        rebuilt = centred @ components[:j].T @ components[:j]
        shares.append(1 - ((centred - rebuilt) ** 2).sum() / (centred**2).sum())
    return torch.tensor(shares, dtype=torch.float64)


def kept_by_covariance(train, x, k):
    """Return the shares, by eigenvectors, one component after the other."""
    mean = train.mean(dim=0)
    vectors = torch.linalg.eigh(train.T.cov()).eigenvectors.flip(1)
    shares, so_far = torch.zeros(k, dtype=x.dtype), 0.0
    for j in range(k):
        so_far = so_far + ((x - mean) @ vectors[:, j]).square().sum()
        shares[j] = so_far / (x - mean).pow(2).sum()
    return shares


def kept_in_float64(train, x, k):
    """Return the shares in float64, by what is lost, and rounded at the end."""
    mean = train.double().mean(dim=0)
    vt = torch.linalg.svd(train.double() - mean).Vh[:k]
    rest, total, shares = x.double() - mean, None, []
    total = rest.square().sum()
    for v in vt:
        rest = rest - torch.outer(rest @ v, v)
        shares.append(1 - rest.square().sum() / total)
    return torch.stack(shares).to(x.dtype)


def kept_by_scatter(train, x, k):
    """Return the shares by a matrix of second moments of x about the mean of train."""
    mean = train.mean(dim=0)
    v = torch.linalg.svd(train - mean, full_matrices=False).Vh[:k]
    moments = (x - mean).T @ (x - mean)
    return torch.einsum("kd,de,ke->k", v, moments, v).cumsum(0) / moments.trace()


def kept_by_the_library(train, x, k):
    """Return what aelab gives: forbidden here."""
    pca = PCA(k).fit(train)
    return pca.encode(x).square().sum(0).cumsum(0) / (x - pca.mean_).square().sum()


q3 = Question(
    title="Find the bug: too good to be true",
    answer="kept",
    signature=["train", "x", "k"],
    results=["shares"],
    cases={
        "x is train": lambda g: split(g, 8, 4, 0, 2),
        "x is train, with six columns": lambda g: split(g, 12, 6, 0, 4),
        "new rows": lambda g: split(g, 8, 4, 5, 2),
        "one new row": lambda g: split(g, 9, 4, 1, 2),
        "fewer rows than columns": lambda g: split(g, 4, 6, 3, 2),
        "many new rows": lambda g: split(g, 12, 6, 30, 5),
        "float64": lambda g: split(g, 6, 3, 4, 2, dtype=torch.float64),
        "a tensor with gaps": lambda g: gaps(*split(g, 12, 6, 7, 4)),
    },
    reference=kept_in_numpy,
    marks=[
        Marks(
            "the rows of the fit: x is train",
            1,
            ["x is train", "x is train, with six columns"],
            "with fewer than all components, can the last share be 1?",
        ),
        Marks(
            "new rows",
            2,
            ["new rows", "one new row", "fewer rows than columns", "many new rows"],
            "which of your numbers are learnt from train, and which from x?",
        ),
        Marks(
            "other dtypes",
            1,
            ["float64", "a tensor with gaps"],
            "as above, in float64 as well: shares has the dtype of x",
        ),
    ],
    forbidden=["aelab.models.PCA"],
    hidden={"many new rows", "a tensor with gaps", "x is train, with six columns"},
    right=[kept_by_covariance, kept_in_float64, kept_by_scatter],
    mistakes=[
        Mistake(
            "still the part for the whole",
            0,
            "The last share is 1 whatever k is: a share of what?",
            {"centred.square().sum()": "energy.sum()"},
        ),
        Mistake(
            "as it was given",
            0,
            "These are the shares of the given function: nothing is mended yet.",
            {
                "centred = x - mean": "centred = x - x.mean(dim=0)",
                "centred.square().sum()": "energy.sum()",
            },
        ),
        Mistake(
            "still a mean of their own",
            1,
            "The shares are now shares of the whole, and that is right. But new rows "
            "are centred with their own mean.",
            {"centred = x - mean": "centred = x - x.mean(dim=0)"},
        ),
        Mistake(
            "the whole round a mean of its own",
            1,
            "The codes are right. The whole that you divide by is measured from the "
            "mean of x; the codes are measured from that of train.",
            {"centred.square().sum()": "(x - x.mean(dim=0)).square().sum()"},
        ),
        Mistake(
            "all components for the whole",
            2,
            "The whole is what all components of train hold; with few rows in train, "
            "part of x lies beside all of them. Pythagoras needs the whole distance.",
            {"centred.square().sum()": "(centred @ vt.T).square().sum()"},
        ),
        Mistake(
            "the whole of train",
            1,
            "You divide by the squares of train; it is a share of the squares of x.",
            {"centred.square().sum()": "(train - mean).square().sum()"},
        ),
        Mistake(
            "fitted to the new rows",
            1,
            "The components are those of x; new rows are new because nothing was "
            "fitted to them.",
            {"(train - mean,": "(x - mean,"},
        ),
        Mistake(
            "fitted to both",
            1,
            "Train and x are fitted together: then x is not held out.",
            {
                "mean = train.mean(dim=0)": "train = torch.cat([train, x])\n    "
                "mean = train.mean(dim=0)"
            },
        ),
        Mistake(
            "the shares of train",
            1,
            "These are the shares of the variance of train; x has shares of its own.",
            {
                "(centred @ vt": "((train - mean) @ vt",
                "centred.square().sum()": "(train - mean).square().sum()",
            },
        ),
        Mistake(
            "no centring",
            0,
            "Nothing is centred here: distances were asked for from the mean of train.",
            {"mean = train.mean(dim=0)": "mean = torch.zeros_like(train[0])"},
        ),
        Mistake(
            "x not centred",
            0,
            "The rows x go through the code as they are: they have to be centred too.",
            {"centred = x - mean": "centred = x"},
        ),
        Mistake(
            "train not centred",
            0,
            "The directions are those of a train that was not centred.",
            {"(train - mean,": "(train,"},
        ),
        Mistake(
            "each share alone",
            0,
            "These are the shares of each component alone; the first j together were "
            "asked for.",
            {"energy.cumsum(dim=0)": "energy"},
        ),
        Mistake(
            "lost for kept",
            0,
            "These are the shares that are lost.",
            {"return energy": "return 1 - energy"},
        ),
        Mistake(
            "k off by one",
            0,
            "The shares are one component late: the first is that of *one* component.",
            {
                "vt[:k].T": "vt[:k].T * (torch.arange(k) < k - 1)",
                "energy.cumsum(dim=0)": "energy.roll(1).cumsum(dim=0)",
            },
        ),
        Mistake(
            "not squared",
            0,
            "",
            {
                "vt[:k].T).square()": "vt[:k].T).abs()",
                "centred.square()": "centred.abs()",
            },
        ),
        Mistake(
            "components as columns",
            0,
            "The directions are read from the columns of V transposed; they are its "
            "rows.",
            {"vt[:k].T)": "vt[:, :k])", "full_matrices=False": "full_matrices=True"},
        ),
        Mistake(
            "a mean of shares",
            0,
            "That is the mean of the shares of the rows; the sums come first, over all "
            "rows, and then the quotient.",
            {
                "(centred @ vt[:k].T).square().sum(dim=0)": "(centred @ vt[:k].T)"
                ".square() / centred.square().sum(dim=1, keepdim=True)",
                "energy.cumsum(dim=0) / centred.square().sum()": "energy.mean(dim=0)"
                ".cumsum(dim=0)",
            },
        ),
        Mistake("calls the library", 0, function=kept_by_the_library),
    ],
)


def pictures(generator):
    """Return twenty digits, from the faintest to the boldest."""
    _, test = data.images("digits")
    order = (test.x - test.x.mean(dim=0)).square().sum(dim=1).argsort()
    step = len(order) // 20
    places = torch.randint(step, (20,), generator=generator)
    return flipped(test.x[order[torch.arange(20) * step + places]], 2)


def noisy(generator, std):
    """Return 600 other digits, clean, and twenty with noise, all in sixteenths."""
    x = pictures(generator)
    x = x + std * torch.randn(x.shape, generator=generator)
    return Digits("train", 0, 600, flip=2), (x * 16).round() / 16


def clean_by_covariance(train, noisy):
    """Return the best linear guess, by covariance matrices and no PCA."""
    mean, d = train.mean(dim=0), train.shape[1]
    c = train.T.cov()
    away = (noisy - mean).square().mean()
    noise = max(away - c.trace() / d, 1e-6)
    return mean + torch.linalg.solve(c + noise * torch.eye(d), (noisy - mean).T).T @ c


def clean_by_the_library(train, noisy):
    """Return the same by a PCA of aelab, the noise seen in its last coordinates."""
    pca = PCA(60).fit(train)
    z, variances = pca.encode(noisy), pca.explained_variance_
    noise = (z.square().mean(dim=0) - variances)[30:].mean()
    x_hat = pca.decode(z * variances / (variances + noise))
    return x_hat.clamp(0, 1)


def clean_one_by_one(train, noisy):
    """Return the same, coordinate after coordinate, in float64."""
    mean = train.double().mean(dim=0)
    values, vectors = torch.linalg.eigh(train.double().T.cov())
    noise = (noisy.double() - mean).square().mean() - values.mean()
    x_hat = mean.expand(noisy.shape).clone()
    for j in range(20, len(values)):
        z = (noisy.double() - mean) @ vectors[:, j]
        x_hat += torch.outer(z * values[j] / (values[j] + noise), vectors[:, j])
    return x_hat.to(noisy.dtype)


def truncated(k, fit=None, back=1.0):
    """Return a cleaning by k components, of train or of noisy."""

    def clean(train, noisy):
        rows = noisy if fit == "noisy" else train
        mean = rows.mean(dim=0)
        _, _, vt = torch.linalg.svd(rows - mean, full_matrices=False)
        x_hat = (noisy - mean) @ vt[:k].T @ vt[:k] * back
        return x_hat if fit == "no mean" else mean + x_hat

    return clean


q4 = Question(
    title="Reach the target: clean noisy digits",
    answer="clean",
    signature=["train", "noisy"],
    results=["x_hat"],
    cases={
        "moderate noise": lambda g: noisy(g, 0.3),
        "moderate noise, once more": lambda g: noisy(g, 0.3),
        "strong noise": lambda g: noisy(g, 0.8),
        "strong noise, once more": lambda g: noisy(g, 0.8),
    },
    reference=pictures,
    marks=[
        Marks(
            "moderate noise, 0.3",
            2,
            ["moderate noise", "moderate noise, once more"],
            "how many directions do digits need, and what of the noise lies in them?",
            kind="score",
            measure="mean squared error",
            bound=0.045,
        ),
        Marks(
            "strong noise, 0.8",
            2,
            ["strong noise", "strong noise, once more"],
            "how far can a coordinate be believed that is mostly noise? And how strong "
            "is the noise here?",
            kind="score",
            measure="mean squared error",
            bound=0.063,
        ),
    ],
    hidden={"moderate noise, once more", "strong noise, once more"},
    right=[clean_by_covariance, clean_by_the_library, clean_one_by_one],
    mistakes=[
        Mistake("as it came", 0, function=lambda train, noisy: noisy.clone()),
        Mistake(
            "clamped to [0, 1]", 0, function=lambda train, noisy: noisy.clamp(0, 1)
        ),
        Mistake(
            "the mean picture",
            0,
            function=lambda train, noisy: train.mean(dim=0).expand(noisy.shape).clone(),
        ),
        Mistake("two components", 0, function=truncated(2)),
        Mistake("forty components", 0, function=truncated(40)),
        Mistake("all components", 0, function=truncated(64)),
        Mistake("fitted to the noisy ones", 0, function=truncated(12, "noisy")),
        Mistake("mean not added back", 0, function=truncated(12, "no mean")),
        Mistake("sign-flipped reconstruction", 0, function=truncated(12, back=-1.0)),
        Mistake("twelve components", 2, function=truncated(12)),
        Mistake(
            "dropped, not weighted",
            2,
            "",
            {"variances / (variances + noise)": "(variances > noise).to(noisy.dtype)"},
        ),
        Mistake(
            "noise of 0.3 taken for granted",
            2,
            "",
            {"((total - variances.sum()) / train.shape[1]).clamp(min=1e-6)": "0.3**2"},
        ),
        Mistake(
            "one weight for all",
            2,
            "",
            {
                "weights = variances / (variances + noise)": "variances = "
                "variances.mean()\n    weights = variances / (variances + noise)"
            },
        ),
        Mistake(
            "noise summed over the pixels",
            0,
            "",
            {" / train.shape[1]).clamp": ").clamp"},
        ),
        Mistake(
            "singular values for variances",
            0,
            "",
            {"s**2 / (len(train) - 1)": "s"},
        ),
        Mistake(
            "squares of singular values for variances",
            0,
            "",
            {"s**2 / (len(train) - 1)": "s**2"},
        ),
        Mistake(
            "the share of the noise for that of the signal",
            0,
            "",
            {"variances / (variances + noise)": "noise / (variances + noise)"},
        ),
        Mistake(
            "reconstruction without the mean",
            0,
            "",
            {"return mean + (": "return ("},
        ),
        Mistake(
            "smallest variances first",
            0,
            "",
            {
                "variances / (variances + noise)": "(variances / (variances + noise))"
                ".flip(0)"
            },
        ),
    ],
)

QUESTIONS = {"q1": q1, "q2": q2, "q3": q3, "q4": q4}
