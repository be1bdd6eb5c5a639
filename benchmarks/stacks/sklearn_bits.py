"""SciPy and scikit-learn, bit by bit: LAPACK, sparse solvers, estimators with OpenMP, threads."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any

from benchmarks.stacks.results import Results

_THREADS = 12
_LINALG = "lu qr svd eig schur expm logm sqrtm hessenberg ldl null_space polar det inv pinv"
_SPECIAL = "gamma gammaln erf erfc j0 j1 y0 i0 k1 digamma ellipk expit zeta ndtr airy sici spence"
#: Estimators, by module: what they are made with.
_ESTIMATORS: dict[str, dict[str, Any]] = {
    "linear_model.LogisticRegression": {},
    "linear_model.Lasso": {"alpha": 0.1},
    "linear_model.SGDClassifier": {"random_state": 1},
    "tree.DecisionTreeClassifier": {"random_state": 1},
    "ensemble.RandomForestClassifier": {"n_estimators": 10, "random_state": 1, "n_jobs": 2},
    "ensemble.HistGradientBoostingClassifier": {"max_iter": 8, "random_state": 1},
    "ensemble.GradientBoostingRegressor": {"n_estimators": 8, "random_state": 1},
    "svm.SVC": {"random_state": 1},
    "svm.LinearSVC": {"random_state": 1},
    "neighbors.KNeighborsClassifier": {},
    "cluster.KMeans": {"n_clusters": 4, "n_init": 2, "random_state": 1},
    "cluster.DBSCAN": {"eps": 3},
    "cluster.AgglomerativeClustering": {},
    "decomposition.PCA": {"n_components": 4},
    "decomposition.NMF": {"n_components": 3, "random_state": 1, "max_iter": 300},
    "gaussian_process.GaussianProcessRegressor": {"random_state": 1},
    "neural_network.MLPClassifier": {"random_state": 1, "max_iter": 20},
    "mixture.GaussianMixture": {"n_components": 2, "random_state": 1},
}
_ANSWERS = ("predict", "predict_proba", "transform", "decision_function")


def main() -> None:
    """Write the results to the file that is the first argument."""
    results = Results(sys.argv[1])
    np: Any = importlib.import_module("numpy")
    linalg: Any = importlib.import_module("scipy.linalg")
    special: Any = importlib.import_module("scipy.special")
    # scipy.linalg.logm estimates norms with numbers from there.
    np.random.seed(5)
    rng = np.random.default_rng(5)
    a = rng.normal(size=(40, 40))
    for name in _LINALG.split():
        results.check(f"linalg {name}", getattr(linalg, name), a if name != "ldl" else a + a.T)
    for name in _SPECIAL.split():
        results.check(f"special {name}", getattr(special, name), np.linspace(0.1, 3, 200))
    results.check("sparse", _sparse, np)
    results.check("optimisation", _optimised, np)
    results.check("threads", _threads, np, a)
    x = abs(rng.normal(size=(300, 8)))
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 1.4).astype(int)
    for name, options in _ESTIMATORS.items():
        results.check(name, _fitted, name, options, x, y)


def _fitted(name: str, options: dict[str, Any], x: Any, y: Any) -> Any:
    module, _, kind = name.rpartition(".")
    estimator = getattr(importlib.import_module(f"sklearn.{module}"), kind)(**options)
    if name in {"cluster.DBSCAN", "cluster.AgglomerativeClustering"}:
        return estimator.fit_predict(x)
    estimator.fit(x, y)
    return [getattr(estimator, answer)(x) for answer in _ANSWERS if hasattr(estimator, answer)]


def _sparse(np: Any) -> Any:
    sparse: Any = importlib.import_module("scipy.sparse")
    solvers: Any = importlib.import_module("scipy.sparse.linalg")
    matrix = sparse.random(200, 200, 0.05, random_state=3, format="csc") + sparse.eye(200) * 4
    symmetric = (matrix + matrix.T).tocsc()
    b = np.arange(200.0)
    return [
        solvers.spsolve(matrix.tocsc(), b),
        solvers.splu(matrix.tocsc()).solve(b),
        solvers.eigsh(symmetric, 4, v0=b + 1)[0],
        solvers.gmres(matrix, b)[0],
        solvers.cg(symmetric, b)[0],
        (matrix @ matrix).toarray(),
        importlib.import_module("scipy.sparse.csgraph").shortest_path(abs(matrix)),
    ]


def _optimised(np: Any) -> Any:
    optimize: Any = importlib.import_module("scipy.optimize")
    integrate: Any = importlib.import_module("scipy.integrate")
    methods = ("BFGS", "L-BFGS-B", "Nelder-Mead", "SLSQP", "TNC", "COBYLA", "Powell")
    start = np.array([1.3, 0.7, 0.8, 1.9])
    found = [optimize.minimize(optimize.rosen, start, method=one).x for one in methods]
    found.append(optimize.linprog([-1, 4], [[-3, 1], [1, 2]], [6, 4]).x)
    found.append(optimize.linear_sum_assignment(np.arange(25).reshape(5, 5) % 7)[1])
    found.append(optimize.fsolve(lambda x: np.cos(x) - x, 1.0))
    found.append(integrate.quad(lambda x: np.exp(-(x**2)), -9, 9)[0])
    for method in ("RK45", "LSODA", "BDF"):
        solved = integrate.solve_ivp(lambda t, y: -y * t, (0, 3), [1.0, 2.0], method=method)
        found.append(solved.y)
    return found


def _threads(np: Any, a: Any) -> Any:
    """Code that no one has touched yet, touched by many at once."""
    ndimage: Any = importlib.import_module("scipy.ndimage")
    spatial: Any = importlib.import_module("scipy.spatial")
    signal: Any = importlib.import_module("scipy.signal")
    fft: Any = importlib.import_module("scipy.fft")
    functions: tuple[Callable[[], Any], ...] = (
        lambda: ndimage.gaussian_filter(a, 2),
        lambda: spatial.cKDTree(a[:, :3]).query(a[:, 3:6], 3)[0],
        lambda: signal.sosfilt(signal.butter(4, 0.3, output="sos"), a[0]),
        lambda: fft.dctn(a, workers=2),
        lambda: spatial.ConvexHull(a[:, :3]).volume,
    )
    gate = threading.Barrier(_THREADS)
    found: list[list[Any]] = [[] for _ in range(_THREADS)]

    def work(own: list[Any]) -> None:
        for compute in functions:
            gate.wait()
            own.append(np.asarray(compute()))

    threads = [threading.Thread(target=work, args=(own,)) for own in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


if __name__ == "__main__":
    main()
