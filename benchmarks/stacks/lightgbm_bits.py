"""LightGBM: training and prediction by every kind of boosting and many objectives, bit by bit."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from benchmarks.stacks.results import Results

_BOOSTING = ("gbdt", "dart", "rf")
_OBJECTIVES = (
    *("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma"),
    *("tweedie", "binary", "cross_entropy", "cross_entropy_lambda", "multiclass"),
    *("multiclassova", "lambdarank", "rank_xendcg"),
)


def main() -> None:
    """Write the results to the file that is the first argument; a second one is a prefix."""
    results = Results(*sys.argv[1:])
    for boosting in _BOOSTING:
        for objective in _OBJECTIVES:
            results.check(f"{boosting} {objective}", _train, boosting, objective)
    results.check("linear trees", lambda: _train("gbdt", "regression", linear_tree=True))
    results.check("extra trees", lambda: _train("gbdt", "binary", extra_trees=True))
    results.check("quantised gradients", lambda: _train("gbdt", "binary", use_quantized_grad=True))
    results.check("goss", lambda: _train("gbdt", "binary", data_sample_strategy="goss"))
    results.check("col-wise", lambda: _train("gbdt", "binary", force_col_wise=True))
    results.check("row-wise", lambda: _train("gbdt", "binary", force_row_wise=True))
    results.check("a wrong parameter", lambda: _train("gbdt", "no such objective"))
    results.check("sparse, categorical, cross-validated", _other)


def _data(objective: str) -> tuple[Any, Any, list[int] | None]:
    np: Any = importlib.import_module("numpy")
    rng = np.random.default_rng(7)
    x = rng.normal(size=(1200, 24))
    x[rng.random(x.shape) < 0.1] = np.nan
    signal = np.nan_to_num(x[:, 0] * 2 - x[:, 1] + np.abs(x[:, 2])) + rng.normal(size=1200) / 5
    group = None
    if objective in {"binary", "cross_entropy", "cross_entropy_lambda"}:
        y = (signal > 0).astype(float)
    elif objective.startswith("multiclass"):
        y = np.digitize(signal, [-2, 0, 2]).astype(float)
    elif objective in {"lambdarank", "rank_xendcg"}:
        y = np.digitize(signal, [-2, 0, 2]).astype(float)
        group = [40] * 30
    elif objective in {"poisson", "gamma", "tweedie"}:
        y = np.exp(signal / 4) + 0.01
    else:
        y = signal
    return x, y, group


def _train(boosting: str, objective: str, **more: Any) -> Any:
    lgb: Any = importlib.import_module("lightgbm")
    x, y, group = _data(objective)
    parameters = {
        "boosting": boosting,
        "objective": objective,
        "num_leaves": 15,
        "num_threads": 2,
        "deterministic": True,
        "force_row_wise": "force_col_wise" not in more,
        "seed": 3,
        "verbose": -1,
        "bagging_freq": 0 if "data_sample_strategy" in more else 1,
        "bagging_fraction": 1.0 if "data_sample_strategy" in more else 0.7,
        "feature_fraction": 0.8,
        **({"num_class": 4} if objective.startswith("multiclass") else {}),
        **more,
    }
    data = lgb.Dataset(x, y, group=group)
    model = lgb.train(parameters, data, 12)
    again = lgb.Booster(model_str=model.model_to_string())
    leaves = model.predict(x, pred_leaf=True)
    shap = None if "linear_tree" in more else model.predict(x[:50], pred_contrib=True)
    importance = [model.feature_importance(kind) for kind in ("split", "gain")]
    return [model.model_to_string(), model.predict(x), again.predict(x), leaves, shap, importance]


def _other() -> Any:
    lgb: Any = importlib.import_module("lightgbm")
    np: Any = importlib.import_module("numpy")
    sparse: Any = importlib.import_module("scipy.sparse")
    x, y, _ = _data("binary")
    x = np.nan_to_num(x)
    x[:, 3] = np.abs(x[:, 3] * 3).astype(int)
    x[np.abs(x) < 0.7] = 0
    fixed = {"num_threads": 2, "deterministic": True, "force_row_wise": True, "verbose": -1}
    parameters = {"objective": "binary", **fixed}
    model = lgb.train(parameters, lgb.Dataset(sparse.csr_matrix(x), y), 10)
    dense = lgb.Dataset(x, y, categorical_feature=[3], free_raw_data=False)
    cross = lgb.cv(parameters, dense, 8, nfold=3, seed=5, stratified=False)
    return [model.model_to_string(), model.predict(sparse.csc_matrix(x)), cross]


if __name__ == "__main__":
    main()
