"""Products of vectors with the Hessian, Gauss-Newton and Fisher matrices of the mean loss over samples.

Every matrix is a SciPy LinearOperator over one flat float64 vector: chosen parameters of the network in the
order of named_parameters. All are MEANS over samples, so that eigenvalues do not depend on the batch size.

A network keeps its parameters, gradients, buffers and modes: its derivatives are taken at stand-ins.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import reason
from lossmap.components.landscape.objective import Problem
from lossmap.components.landscape.parameters import Parameters, flat_vector

Vectors = NDArray[np.float64]
Product = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]  # of a vector, parameter by parameter

_GROUPS = 25  # a product for each: few, and still 24 degrees of freedom
_KEPT_BYTES = 1 << 29  # of graphs: a survey's process has 2 GiB in a pod, by default


class CurvatureMatrix(LinearOperator):  # type: ignore[misc]
    """A symmetric matrix A = (1/N) sum of A_n over the samples, known by its products with vectors.

    Args:
        problem: network, loss and samples.
        names: as in Parameters; the matrix of chosen layers is a block on the diagonal of the whole one.
        weights: as in Parameters.
        watch: is told after every product how many vectors were multiplied.
    """

    def __init__(
        self,
        problem: Problem,
        names: Sequence[str] | None = None,
        weights: Mapping[str, Tensor] | None = None,
        watch: Callable[[int], None] = lambda vectors: None,
    ):
        self.parameters = Parameters(problem, names, weights)
        self._watch = watch
        self._kept: list[Product] = []
        self._room = _KEPT_BYTES
        super().__init__(np.dtype(np.float64), (self.parameters.size, self.parameters.size))

    def sampling_covariance(self, vectors: Vectors) -> tuple[NDArray[np.float64], int]:
        """Covariance (K, K) of the v_k' A v_k over draws of the samples, for fixed vectors (n, K); and the
        number of groups it is from.

        Of q_g = v' A_g v, the mean over the samples of group g, its size n_g, and the mean u_g of its
        samples' weights (1 where all count alike): G / (G - 1) sum of (n_g / N)^2 (q_g - u_g q)(q_g - u_g
        q)'. By first-order perturbation it is the covariance of simple eigenvalues whose eigenvectors the v
        are. It does not tell that the greatest eigenvalue of a mean over few samples lies, on average, above
        that of the mean over many.
        """
        group = self.parameters.problem.samples.groups() % _GROUPS
        members = [torch.nonzero(group == g).flatten() for g in range(int(group.max()) + 1)]
        count, groups = len(group), len(members)
        sizes = np.array([len(member) for member in members])
        sums = [np.einsum("nk,nk->k", vectors, self._sum(vectors, member)) for member in members]
        means = np.stack(sums) / sizes[:, None]
        weights = self.parameters.problem.weights.cpu()
        counts = np.array([float(weights[member].mean()) for member in members])
        deviations = (means - np.outer(counts, sizes @ means) / count) * (sizes / count)[:, None]
        covariance = deviations.T @ deviations
        if groups == 1:
            return covariance * np.nan, groups
        return covariance * groups / (groups - 1), groups

    def _matmat(self, vectors: Vectors) -> Vectors:
        mean = self._sum(vectors) / len(self.parameters.problem.samples)
        self._watch(vectors.shape[1])
        return mean

    def _matvec(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self._matmat(vector.reshape(-1, 1))[:, 0])

    def _adjoint(self) -> "CurvatureMatrix":
        return self

    def _sum(self, vectors: Vectors, chosen: Tensor | None = None) -> Vectors:
        """Sum of A_n v over all samples, or over the chosen ones: (n, K)."""
        columns = [list(self.parameters.split(vector).values()) for vector in vectors.T]
        total = torch.zeros(
            len(columns), self.parameters.size, dtype=torch.float64, device=self.parameters.device
        )
        for product in self._batch_products(chosen):
            for row, column in enumerate(columns):
                total[row] += flat_vector(product(column))
        return np.ascontiguousarray(total.cpu().numpy().T)

    def _batch_products(self, chosen: Tensor | None) -> Iterator[Product]:
        """For each batch the product of a vector with its sum of A_n. Those of all samples are kept, with the
        graphs of their derivatives, as long as these fit into half a gibibyte; the others are made anew.
        """
        if chosen is not None:
            for batch in self.parameters.batches(chosen):
                yield self._batch_product(*batch)
            return
        yield from self._kept
        for batch in self.parameters.batches(first=len(self._kept)):
            with _counted_bytes() as size:
                product = self._batch_product(*batch)
            self._room -= size()
            if self._room >= 0:
                self._kept.append(product)
            yield product

    def _batch_product(self, inputs: Tensor, targets: Tensor) -> Product:
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in self.parameters.tensors.items()}
        return self._product(list(leaves.values()), self.parameters.outputs(leaves, inputs), targets)

    @abstractmethod
    def _product(self, parameters: list[Tensor], outputs: Tensor, targets: Tensor) -> Product:
        """The sum over a batch of A_n v, as a function of v."""


class Hessian(CurvatureMatrix):
    """H = (1/N) sum of the second derivatives of each sample's loss. H v = d/dw (v . d/dw f): reverse over
    reverse (Pearlmutter 1994).
    """

    def _product(self, parameters: list[Tensor], outputs: Tensor, targets: Tensor) -> Product:
        loss = self.parameters.problem.total(outputs, targets)
        gradient = derivative([loss], parameters, create_graph=True)
        return lambda vector: derivative(gradient, parameters, vector)


class OutputCurvature(CurvatureMatrix):
    """(1/N) sum of J_n' M_n J_n, J_n the derivative of a sample's outputs to the parameters, M_n a matrix
    over its outputs.

    J v is the derivative of J' u to u, times v: two backward passes, no forward derivatives needed.
    """

    def _product(self, parameters: list[Tensor], outputs: Tensor, targets: Tensor) -> Product:
        dummy = torch.zeros_like(outputs, requires_grad=True)
        transposed = derivative([outputs], parameters, [dummy], create_graph=True)

        def product(vector: Sequence[Tensor]) -> tuple[Tensor, ...]:
            (tangent,) = derivative(transposed, [dummy], vector)
            weighted = self._weighted(outputs.detach(), targets, tangent).to(outputs.dtype)
            return derivative([outputs], parameters, [weighted])

        return product

    @abstractmethod
    def _weighted(self, outputs: Tensor, targets: Tensor, tangent: Tensor) -> Tensor:
        """M_n times the tangent of each sample, shaped like the outputs."""


class GaussNewton(OutputCurvature):
    """The generalised Gauss-Newton matrix (Schraudolph 2002): M is the Hessian of each sample's loss to its
    outputs.

    Positive semidefinite where the loss is convex in the outputs. H - G is what the curvature of the network
    itself adds.
    """

    def _weighted(self, outputs: Tensor, targets: Tensor, tangent: Tensor) -> Tensor:
        at = outputs.requires_grad_()
        slope = derivative([self.parameters.problem.total(at, targets)], [at], create_graph=True)
        return derivative(slope, [at], [tangent])[0]


@contextmanager
def _counted_bytes() -> Iterator[Callable[[], int]]:
    """How many bytes the graphs keep that are made meanwhile, each tensor's memory once."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        sizes[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield lambda: sum(sizes.values())


def derivative(
    values: Sequence[Tensor],
    to: Sequence[Tensor],
    times: Sequence[Tensor] | None = None,
    create_graph: bool = False,
) -> tuple[Tensor, ...]:
    """Derivative of sum(values * times) to some tensors; zero where nothing depends on them, also where
    nothing depends on anything.

    Raises:
        ExperimentError: torch has no such derivative of the loss or of the network.
    """
    known = [i for i, value in enumerate(values) if value.requires_grad]
    if not known:
        return tuple(torch.zeros_like(tensor) for tensor in to)
    weights = None if times is None else [times[i].to(values[i].dtype) for i in known]
    try:
        return torch.autograd.grad(
            [values[i] for i in known],
            to,
            weights,
            retain_graph=True,
            create_graph=create_graph,
            materialize_grads=True,
        )
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ExperimentError(
            f"the loss or the network has no second derivatives: {reason(error)}; survey it without"
            " landscape.curvature, landscape.convexity, and directions of the Hessian"
        ) from None
