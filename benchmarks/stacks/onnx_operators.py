"""onnxruntime: the operator tests of the `onnx` package, each as a model that is run twice."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from benchmarks.stacks.results import Results


def main() -> None:
    """Write the results to the file that is the first argument."""
    results = Results(sys.argv[1])
    node: Any = importlib.import_module("onnx.backend.test.case.node")
    for case in node.collect_testcases(None):
        results.check(case.name, _run, case)
    for optimised in (True, False):
        results.check(f"a small network, optimised: {optimised}", _network, optimised)


def _session(model: bytes, *, optimised: bool) -> Any:
    ort: Any = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    level = "ORT_ENABLE_ALL" if optimised else "ORT_DISABLE_ALL"
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(case: Any) -> Any:
    # Random without a seed in the model: nothing to compare.
    if any(word in case.name for word in ("bernoulli", "dropout_random", "training_dropout")):
        return None
    session = _session(case.model.SerializeToString(), optimised=True)
    outputs = []
    for inputs, _ in case.data_sets:
        named = dict(zip([one.name for one in session.get_inputs()], inputs, strict=True))
        outputs.append(session.run(None, named))
    return outputs


def _network(optimised: bool) -> Any:
    np: Any = importlib.import_module("numpy")
    onnx: Any = importlib.import_module("onnx")
    helper = onnx.helper
    rng = np.random.default_rng(11)

    def weight(name: str, shape: tuple[int, ...]) -> Any:
        return onnx.numpy_helper.from_array(rng.normal(size=shape).astype("float32") / 4, name)

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("MaxPool", ["r0"], ["p0"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p0", "w1", "b1"], ["c1"], group=4),
        helper.make_node("Sigmoid", ["c1"], ["s1"]),
        helper.make_node("GlobalAveragePool", ["s1"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    shapes = {"w0": (16, 3, 3, 3), "b0": (16,), "w1": (32, 4, 3, 3), "b1": (32,)}
    shapes |= {"w2": (10, 32), "b2": (10,)}
    values = [weight(name, shape) for name, shape in shapes.items()]
    tensor = helper.make_tensor_value_info
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "network",
        [tensor("x", floats, [4, 3, 32, 32])],
        [tensor("y", floats, [4, 10])],
        values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = _session(model.SerializeToString(), optimised=optimised)
    x = rng.normal(size=(4, 3, 32, 32)).astype("float32")
    return [session.run(None, {"x": x}) for _ in range(3)]


if __name__ == "__main__":
    main()
