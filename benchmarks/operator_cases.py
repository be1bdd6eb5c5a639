"""What MXNet's operators are called with, by family: inputs and attributes.

A row gives its cases to each of its operators: every one of its `inputs` with every one of its
`attributes`. Inputs are written `SHAPE[:KIND[:DTYPE[:STORAGE]]]`, apart by spaces: `2,3` are
normal numbers of the data type that is tried, `5:index4:int32` are whole numbers below 4, `0-d` is
a single number. Attributes are written `axis=1 keepdims=True`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

#: What the driver writes when all calls have been made.
ALL: Final = "all"
#: Data types, as numpy calls them.
TYPES: Final = ("float32", "float64", "float16", "int8", "uint8", "int32", "int64", "bool")
_FLOATS: Final = TYPES[:3]
_ONE: Final = TYPES[:1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """An array: `kind` of values, `dtype` empty for the one that is tried, and storage type."""

    shape: tuple[int, ...]
    kind: str
    dtype: str
    storage: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A call, for each of the data `types`."""

    inputs: tuple[Input, ...]
    attributes: dict[str, str]
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    names: str
    inputs: tuple[str, ...]
    attributes: tuple[str, ...] = ("",)
    types: tuple[str, ...] = TYPES


def cases(name: str) -> Iterator[Case]:
    """All cases of an operator."""
    for row in _ROWS:
        if name in row.names.split():
            for inputs, attributes in product(row.inputs, row.attributes):
                yield Case(
                    inputs=tuple(as_input(one) for one in inputs.split()),
                    attributes=dict(one.split("=", 1) for one in attributes.split()),
                    types=row.types,
                )


def known() -> frozenset[str]:
    """The operators that there are cases for."""
    return frozenset(name for row in _ROWS for name in row.names.split())


def as_input(text: str) -> Input:
    """What is written `SHAPE[:KIND[:DTYPE[:STORAGE]]]`."""
    shape, kind, dtype, storage = (*text.split(":"), "", "", "", "")[:4]
    sizes = () if shape == "0-d" else tuple(int(one) for one in shape.split(","))
    return Input(shape=sizes, kind=kind or "normal", dtype=dtype, storage=storage or "default")


#: From none to five dimensions, with and without elements.
_SHAPES: Final = ("3,5", "7", "2,3,4", "2,3,2,4", "2,2,3,2,3", "0-d", "0", "3,0,2")
_SPARSE: Final = ("5,4:::csr", "5,4:::row_sparse")
_SAME: Final = (
    *(f"{one} {one}" for one in _SHAPES),
    *(f"5,4:::{a} 5,4:::{b}" for a, b in (("csr", "csr"), ("row_sparse", "row_sparse"))),
    *(f"5,4:::{a} 5,4" for a in ("csr", "row_sparse")),
    *(f"5,4 5,4:::{a}" for a in ("csr", "row_sparse")),
)
_BROADCAST: Final = (
    *("3,5 3,5", "3,5 1,5", "3,1 1,5", "2,3,4 2,1,4", "2,1,2,4 1,3,2,1", "2,2,3,1,3 2,1,3,2,1"),
    *("0-d 3,5", "3,5 5", "0-d 0-d", "3,0,2 1,1,2", "5,4:::csr 5,1", "5,4:::csr 5,4"),
)


def _divisible(inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Whole numbers that are divided by zero end a process."""
    found = []
    for one, other in map(str.split, inputs):
        shape, _, *more = (*other.split(":"), "", "", "")[:4]
        found.append(f"{one} {':'.join((shape, 'nonzero', *more))}")
    return tuple(found)


_POSITIVE: Final = ("3,5:positive", "4:positive", "2,3,4:unit")
_SCALARS: Final = ("scalar=2.5", "scalar=-1", "scalar=0", "scalar=3 is_int=True")
_REDUCED: Final = ("3,5", "2,3,4", "2,3,2,4", "2,2,3,2,3", "3,0,2", "0-d", *_SPARSE)
_AXES: Final = ("", "axis=0", "axis=-1", "axis=(0,1)", "axis=1 keepdims=True")
_IMAGES: Final = ("9,11,3:index256:uint8", "2,9,11,3:index256:uint8", "9,11,1:unit:float32")

_ROWS: Final = (
    # Elementwise, of one input.
    _Row(
        "abs arccos arccosh arcsin arcsinh arctan arctanh BlockGrad cbrt ceil cos cosh degrees erf"
        " erfinv exp expm1 fix floor gamma gammaln hard_sigmoid log log10 log1p log2 logical_not"
        " make_loss negative ones_like radians rcbrt reciprocal relu rint round rsqrt sigmoid sign"
        " sin sinh softsign sqrt square tan tanh trunc zeros_like _copy _copyto shape_array"
        " size_array _contrib_div_sqrt_dim _contrib_round_ste _contrib_sign_ste Flatten _np_copy"
        " _npi_absolute _npi_arccos _npi_around _npi_bitwise_not _npi_cos _npi_exp _npi_isnan"
        " _npi_log _npi_logical_not _npi_negative _npi_reciprocal _npi_sqrt _npi_square _npi_tanh"
        " _npx_relu _npx_sigmoid _npi_nan_to_num _grad_add add_n all_finite",
        (*_SHAPES, *_SPARSE, *_POSITIVE),
    ),
    _Row(
        "smooth_l1 clip Cast amp_cast _contrib_gradientmultiplier",
        (*_SHAPES, *_SPARSE),
        ("scalar=1.5", "a_min=-0.5 a_max=0.5", *(f"dtype={one}" for one in TYPES)),
    ),
    _Row("Activation", _SHAPES, tuple(f"act_type={one}" for one in ["relu", "tanh", "softsign"])),
    _Row("Activation", _SHAPES, ("act_type=sigmoid", "act_type=softrelu")),
    _Row(
        "LeakyReLU", _SHAPES, tuple(f"act_type={one}" for one in ["leaky", "elu", "selu", "gelu"])
    ),
    _Row("LeakyReLU", ("2,3,4 3", "4,3,2,2 3", "3,5 5"), ("act_type=prelu",)),
    _Row("LeakyReLU", ("2,3,4",), ("act_type=rrelu lower_bound=0.1 upper_bound=0.3",), _ONE),
    # With a number.
    _Row(
        "_plus_scalar _minus_scalar _rminus_scalar _mul_scalar _div_scalar _rdiv_scalar _mod_scalar"
        " _power_scalar _rpower_scalar _maximum_scalar _minimum_scalar _hypot_scalar _equal_scalar"
        " _greater_scalar _lesser_equal_scalar _logical_and_scalar _scatter_plus_scalar"
        " _scatter_minus_scalar _npi_add_scalar _npi_subtract_scalar _npi_multiply_scalar"
        " _npi_mod_scalar _npi_power_scalar _npi_true_divide_scalar _npi_rtrue_divide_scalar"
        " _npi_arctan2_scalar _npi_greater_scalar _npi_bitwise_and_scalar _npi_lcm_scalar",
        (*_SHAPES, *_SPARSE),
        _SCALARS,
    ),
    # Of two inputs and more.
    _Row(
        "elemwise_add elemwise_sub elemwise_mul _maximum _minimum _power _hypot _equal"
        " _greater _grad_add add_n _identity_with_attr_like_rhs reshape_like _lesser",
        _SAME,
    ),
    _Row("elemwise_div _mod", _divisible(_SAME)),
    _Row("broadcast_div broadcast_mod _npi_mod _npi_true_divide", _divisible(_BROADCAST)),
    _Row("add_n", ("3,4 3,4 3,4 3,4 3,4", "3,4:::row_sparse 3,4:::row_sparse 3,4:::row_sparse")),
    _Row(
        "broadcast_add broadcast_sub broadcast_mul broadcast_power"
        " broadcast_maximum broadcast_hypot broadcast_equal broadcast_logical_and broadcast_like"
        " _npi_add _npi_subtract _npi_multiply _npi_power _npi_arctan2"
        " _npi_hypot _npi_equal _npi_less _npi_bitwise_and _npi_lcm _npi_copysign _npi_ldexp",
        _BROADCAST,
    ),
    _Row("broadcast_like", ("3,1 3,5", "1,4 2,4"), ("lhs_axes=0 rhs_axes=0",)),
    _Row("broadcast_to _npi_broadcast_to", ("3,1", "1,5", "1,1", "1"), ("shape=(3,5)",)),
    _Row("broadcast_to", ("3,1,2",), ("shape=(0,4,0)",)),
    _Row("broadcast_axis", ("3,1,2", "1,1,4"), ("axis=1 size=4", "axis=(0,1) size=(3,2)")),
    # Reductions.
    _Row("sum mean max min nansum norm", _REDUCED, (*_AXES, "axis=1 exclude=True")),
    # Their gradients divide by each of the numbers.
    _Row(
        "prod nanprod",
        tuple(f"{one}:nonzero" for one in _REDUCED[:-2]),
        (*_AXES, "axis=1 exclude=True"),
    ),
    _Row("norm", ("3,5", "2,3,4"), ("ord=1", "ord=2 axis=1", "ord=1 axis=0 keepdims=True")),
    _Row(
        "_np_sum _npi_mean _np_prod _np_max _np_min _np_all _np_any _npi_std _npi_var",
        ("3,5", "2,3,4", "2,3,2,4", "2,2,3,2,3", "3,0,2", "0-d"),
        (*_AXES, "dtype=float64", "axis=0 dtype=int32"),
    ),
    _Row("_square_sum", ("5,4:::row_sparse",), ("axis=1", "axis=0", "axis=1 keepdims=True")),
    _Row("argmax argmin _npi_argmax _npi_argmin", ("3,5", "2,3,4", "7"), ("", "axis=0", "axis=-1")),
    _Row("argmax_channel", ("3,5",)),
    _Row("moments", ("3,5", "2,3,4"), ("axes=0", "axes=(0,1) keepdims=True")),
    _Row("softmax log_softmax softmin", ("3,5", "2,3,4", "2,3,2,4", "7", "3,0,2"), ("", "axis=0")),
    _Row("softmax log_softmax", ("3,5", "2,3,4"), ("temperature=2.5", "dtype=float64")),
    _Row("softmax", ("2,3,5 2,3:index5:int32",), ("use_length=True axis=2",)),
    # Shapes.
    _Row("Reshape _np_reshape", ("2,3,4", "4,6", "24", "0,3"), ("shape=(-1,6)", "shape=(-1,)")),
    _Row("_np_reshape _npx_reshape", ("2,3,4", "4,6"), ("newshape=(-1,6)", "newshape=(24,)")),
    _Row("Reshape", ("2,3,4",), ("shape=(0,-1)", "shape=(-3,0)", "shape=(0,-4,1,3,-2)")),
    _Row("transpose _np_transpose", ("3,5", "2,3,4", "2,3,2,4", "2,2,3,2,3", "7", "0-d", "3,0,2")),
    _Row("transpose", ("2,3,4", "5,5,5"), ("axes=(2,0,1)", "axes=(0,2,1)", "axes=(1,0,2)")),
    _Row("transpose", ("2,3,2,4",), ("axes=(0,2,1,3)", "axes=(3,1,2,0)")),
    _Row("expand_dims squeeze", ("3,5", "1,5", "7", "0-d", "2,1,4"), ("axis=0", "axis=1")),
    _Row("SwapAxis", ("2,3,4",), ("dim1=0 dim2=2",)),
    _Row("repeat", ("3,5", "2,3,4", "7"), ("repeats=2", "repeats=3 axis=0", "repeats=2 axis=-1")),
    _Row("tile", ("3,5", "7"), ("reps=(2,)", "reps=(2,3)", "reps=(2,1,3)")),
    _Row("reverse", ("3,5", "2,3,4"), ("axis=0", "axis=(0,1)")),
    _Row("Concat", ("2,3 2,4", "2,3:::csr 2,3:::csr", "5,4 5,1"), ("dim=1 num_args=2",)),
    _Row("Concat", ("2,3 4,3 1,3", "2,3:::csr 4,3:::csr 1,3:::csr"), ("dim=0 num_args=3",)),
    _Row("Concat", ("2,3,2,4 2,5,2,4", "2,3,2,2,3 2,1,2,2,3"), ("dim=1 num_args=2",)),
    _Row("_rnn_param_concat", ("6 4 8", "6:::default 4 1"), ("dim=0 num_args=3",)),
    _Row("stack _npi_stack", ("2,3 2,3 2,3", "4 4 4"), ("axis=0 num_args=3", "axis=1 num_args=3")),
    _Row("_npi_concatenate", ("2,3 2,3", "4 5"), ("axis=0 num_args=2", "axis=None num_args=2")),
    _Row("SliceChannel", ("4,6", "2,4,3"), ("num_outputs=2", "num_outputs=4 axis=0")),
    _Row("SliceChannel", ("3,1,2",), ("num_outputs=1 squeeze_axis=True",)),
    _Row("_split_v2", ("4,6",), ("indices=(0,2,3) axis=1", "sections=2 axis=0")),
    _Row("slice", ("4,6", "5,4:::csr", "5,4,3"), ("begin=(1,) end=(3,)", "begin=(0,1) end=(4,3)")),
    _Row("slice", ("4,6",), ("begin=(3,None) end=(0,None) step=(-1,2)",)),
    _Row("slice_axis", ("4,6", "4,5,6"), ("axis=0 begin=1 end=3", "axis=-1 begin=-3 end=None")),
    _Row("_slice_assign", ("4,6 2,6",), ("begin=(1,) end=(3,)",)),
    _Row(
        "_slice_assign_scalar", ("4,6", "5,7,2"), ("begin=(1,0) end=(3,2) scalar=2.5", "begin=(1,)")
    ),
    _Row("slice_like", ("4,6 2,3", "5,6 5,4"), ("", "axes=(1,)")),
    _Row("Pad", ("2,3,4,5",), tuple(f"mode={m} pad_width=(0,0,0,0,1,2,2,1)" for m in ("edge",))),
    _Row("Pad", ("2,3,4,5", "1,2,4,4,4"), ("mode=constant pad_width=(0,0,0,0,1,2,2,1)",)),
    _Row(
        "_npi_pad",
        ("3,4",),
        ("pad_width=((1,2),(0,1)) mode=constant", "pad_width=((1,1),(2,1)) mode=reflect"),
    ),
    _Row("diag", ("4,4", "6", "2,3,3"), ("", "k=1")),
    _Row("depth_to_space space_to_depth", ("2,8,4,4",), ("block_size=2",)),
    # Makers, without inputs.
    _Row(
        "_zeros _ones _zeros_without_dtype _npi_zeros _npi_ones",
        ("",),
        (
            "shape=(3,5) dtype=-1",
            *(f"shape={s} dtype={t}" for s in ("(3,5)", "(2,)", "(2,3,4,5)") for t in TYPES),
        ),
        _ONE,
    ),
    _Row(
        "_full _npi_full_like",
        ("",),
        tuple(f"shape={s} dtype={t} value=2.5" for s in ("(3,5)", "(2,)") for t in TYPES),
        _ONE,
    ),
    _Row("_arange _npi_arange", ("",), tuple(f"start=1 stop=9 step=2 dtype={t}" for t in TYPES)),
    _Row("_eye _npi_eye", ("",), tuple(f"N=4 M=5 k=1 dtype={t}" for t in TYPES), _ONE),
    _Row("_linspace", ("",), ("start=0 stop=1 num=7",), _ONE),
    _Row("_contrib_arange_like", ("3,5", "2,3,4"), ("", "axis=1", "axis=0 start=2 step=0.5")),
    _Row("_set_value", ("",), ("src=2.5",), _ONE),
    # Indexing.
    _Row(
        "Embedding _contrib_SparseEmbedding",
        tuple(
            f"{shape}:index7:{index} 7,5"
            for shape in ("4", "2,3", "2,2,3")
            for index in ("float32", "int32", "int64", "float64")
        ),
        ("input_dim=7 output_dim=5",),
    ),
    _Row("Embedding", ("4:index7:int32 7,5",), ("input_dim=7 output_dim=5 sparse_grad=True",)),
    _Row("Embedding", ("4:index7:int32 7,5:::row_sparse",), ("input_dim=7 output_dim=5",)),
    _Row(
        "take",
        (
            "6,4 3:index6:int32",
            "6,4 2,3:index6:float32",
            "5 4:index9:int64",
            "4,5,6 2:index4:int32",
        ),
        ("", "axis=1 mode=wrap", "axis=-1 mode=clip"),
    ),
    _Row("batch_take pick", ("4,5 4:index5:int32", "3,6 3:index6:float32")),
    _Row("pick", ("4,5 4:index5:float32",), ("axis=1 keepdims=True", "axis=0 mode=wrap")),
    _Row("gather_nd", ("4,5 2,3:index4:int32", "4,5,2 1,3:index4:float32", "4,5 2,3:index4:int64")),
    _Row(
        "scatter_nd", ("3 2,3:index4:int32", "3,2 1,3:index4:int32"), ("shape=(4,4)", "shape=(4,2)")
    ),
    _Row("one_hot", ("4:index5:int32", "2,3:index5:float32"), ("depth=5", "depth=5 dtype=float16")),
    _Row("where", ("3,5:sign 3,5 3,5", "3:sign 3,5 3,5", "3,4:sign:float32:csr 3,4 3,4")),
    _Row("_npi_where", ("3,5:sign:bool 3,5 3,5", "3,1:sign:bool 1,5 3,5", "5:sign 3,5 0-d")),
    _Row(
        "topk", ("4,6", "2,3,8"), tuple(f"k=3 ret_typ={one}" for one in ("value", "both", "mask"))
    ),
    _Row("topk", ("4,6",), ("k=2 axis=0 is_ascend=True dtype=int32",)),
    _Row("sort argsort", ("4,6", "2,3,8", "7"), ("", "axis=0 is_ascend=False")),
    _Row(
        "SequenceMask", ("5,3,2 3:index6", "4,3 3:index4"), ("use_sequence_length=True value=-1",)
    ),
    _Row("SequenceMask", ("3,5,2 3:index6", "3,5 3:index6"), ("use_sequence_length=True axis=1",)),
    _Row("SequenceMask", ("3,5,2", "3,5,2,4,2")),
    _Row("SequenceLast SequenceReverse", ("5,3,2 3:length5",), ("use_sequence_length=True",)),
    _Row("_contrib_boolean_mask", ("5,3 5:sign:float32", "4 4:sign:int32")),
    _Row("_npi_unique", ("7:index4", "3,4:index3"), ("return_index=True return_inverse=True",)),
    _Row("_npi_percentile", ("3,5 2:percent:float64",), ("interpolation=linear", "axis=1")),
    _Row("_ravel_multi_index", ("2,4:index3:int64",), ("shape=(4,5)",)),
    _Row("_onehot_encode", ("4:index5:float32 4,5",)),
    _Row("fill_element_0index", ("4,5 4:normal 4:index5",)),
    # Networks.
    _Row(
        "FullyConnected",
        ("4,6 3,6 3", "4,2,3 3,6 3", "1,6 3,6 3", "4,6:::csr 3,6 3", "4,6 3,6:::row_sparse 3"),
        ("num_hidden=3",),
    ),
    _Row("FullyConnected", ("4,6 3,6", "2,4,6 3,6"), ("num_hidden=3 no_bias=True flatten=False",)),
    _Row(
        "LayerNorm",
        ("4,6 6 6", "2,3,6 6 6", "2,2,3,6 6 6", "2,2,2,3,6 6 6"),
        ("", "eps=1e-12", "output_mean_var=True"),
    ),
    _Row("LayerNorm", ("6,4 6 6", "3,6,2 6 6"), ("axis=0", "axis=1")),
    _Row(
        "L2Normalization", ("3,5", "2,3,4", "2,3,2,4"), ("", "mode=channel", "mode=spatial eps=0.1")
    ),
    _Row("GroupNorm", ("2,4,3,3 2 2", "2,4,5 4 4"), ("num_groups=2", "num_groups=4 eps=0.1")),
    _Row("InstanceNorm", ("2,4,3,3 4 4", "2,4,5 4 4"), ("", "eps=0.1")),
    _Row("LRN", ("2,6,3,3",), ("nsize=3", "nsize=5 alpha=0.1 beta=0.5")),
    _Row(
        "BatchNorm _contrib_SyncBatchNorm BatchNorm_v1",
        ("2,4,3,3 4 4 4:positive 4:positive", "3,4 4 4 4:positive 4:positive"),
        ("", "fix_gamma=False", "use_global_stats=True", "key=a fix_gamma=False"),
    ),
    _Row("BatchNorm", ("2,3,4,2,3 4 4 4:positive 4:positive",), ("axis=2 output_mean_var=True",)),
    _Row(
        "Convolution",
        ("2,4,9,8 6,4,3,3 6",),
        ("kernel=(3,3) num_filter=6", "kernel=(3,3) num_filter=6 stride=(2,1) pad=(1,2)"),
    ),
    _Row(
        "Convolution", ("2,4,9,8 6,2,3,3",), ("kernel=(3,3) num_filter=6 num_group=2 no_bias=True",)
    ),
    _Row("Convolution", ("2,4,9 6,4,3 6",), ("kernel=(3,) num_filter=6 dilate=(2,)",)),
    _Row("Convolution", ("1,2,5,6,7 3,2,3,3,3 3",), ("kernel=(3,3,3) num_filter=3",)),
    _Row("Deconvolution", ("2,4,5,6 4,3,3,3",), ("kernel=(3,3) num_filter=3 stride=(2,2)",)),
    _Row("Deconvolution", ("2,4,5 4,3,3 3",), ("kernel=(3,) num_filter=3 no_bias=False",)),
    _Row(
        "Pooling Pooling_v1",
        ("2,3,8,9", "2,3,9", "1,2,5,6,7"),
        (
            *(f"kernel=(3,3) stride=(2,2) pool_type={one}" for one in ("max", "avg", "sum")),
            *(f"kernel=(2,2) global_pool=True pool_type={one}" for one in ("max", "avg")),
            *("kernel=(3,) pool_type=max", "kernel=(2,2,2) pool_type=avg"),
            *("kernel=(3,3) pool_type=lp p_value=2", "kernel=(3,3) pooling_convention=full"),
        ),
    ),
    _Row(
        "RNN",
        ("5,2,3 72 1,2,4",),
        ("state_size=4 num_layers=1 mode=rnn_tanh", "state_size=4 num_layers=1 mode=rnn_relu"),
    ),
    _Row(
        "RNN", ("5,2,3 36 1,2,4",), ("state_size=4 num_layers=1 mode=rnn_tanh state_outputs=True",)
    ),
    _Row("RNN", ("5,2,3 144 1,2,4 1,2,4",), ("state_size=4 num_layers=1 mode=lstm",)),
    _Row("RNN", ("5,2,3 108 1,2,4",), ("state_size=4 num_layers=1 mode=gru state_outputs=True",)),
    _Row(
        "RNN",
        ("5,2,3 288 2,2,4 2,2,4",),
        ("state_size=4 num_layers=1 mode=lstm bidirectional=True state_outputs=True",),
    ),
    _Row("UpSampling", ("2,3,4,4",), ("scale=2 sample_type=nearest num_args=1",), _FLOATS),
    _Row("Dropout", ("3,5", "2,3,4"), ("p=0.5", "p=0.5 mode=always", "p=0.3 axes=(0,)"), _FLOATS),
    _Row(
        "SoftmaxOutput SoftmaxActivation",
        ("4,5 4:index5", "4,5,3 4,3:index5"),
        ("", "multi_output=True"),
    ),
    _Row(
        "LinearRegressionOutput LogisticRegressionOutput MAERegressionOutput SVMOutput",
        ("4,5 4,5",),
    ),
    _Row("CTCLoss", ("6,2,5 2,3:length4:float32",), ("", "blank_label=last")),
    _Row("softmax_cross_entropy", ("4,5 4:index5",)),
    _Row("BilinearSampler", ("2,3,6,5 2,2,4,4",)),
    _Row("GridGenerator", ("2,6",), ("transform_type=affine target_shape=(4,5)",)),
    _Row("ROIPooling", ("2,3,8,8 3,5:index2",), ("pooled_size=(2,2) spatial_scale=1.0",)),
    _Row("im2col", ("2,3,6,6",), ("kernel=(3,3)",)),
    # Products and linear algebra.
    _Row("dot _np_dot _npi_matmul", ("3,4 4,5", "4 4", "3,4 4", "2,3,4 4,5", "0,4 4,5")),
    _Row("dot", ("4,3 4,5", "4,3:::csr 4,5", "4,3:::csr 4,5:::row_sparse"), ("transpose_a=True",)),
    _Row("dot", ("3,4:::csr 4,5", "3,4:::csr 4,5:::row_sparse", "3,4 4,5:::csr")),
    _Row("_npi_matmul", ("2,3,4 2,4,5", "2,1,3,4 3,4,5")),
    _Row("batch_dot", ("2,3,4 2,4,5", "2,3,1 2,1,5")),
    _Row("batch_dot", ("2,3,4 2,5,4",), ("transpose_b=True",)),
    _Row("batch_dot", ("2,4,3 2,4,5",), ("transpose_a=True",)),
    _Row("_npi_tensordot", ("2,3,4 4,3,5",), ("a_axes_summed=(1,2) b_axes_summed=(1,0)",)),
    _Row("_npi_tensordot_int_axes", ("2,3,4 3,4,5",), ("axes=2",)),
    _Row(
        "_npi_einsum",
        ("3,4 4,5",),
        ("subscripts=ij,jk->ik num_args=2 optimize=1", "subscripts=ij,jk num_args=2"),
    ),
    _Row("_npi_einsum", ("4,4",), ("subscripts=ii num_args=1", "subscripts=ij->ji num_args=1")),
    _Row("_linalg_gemm2", ("3,4 4,5", "2,3,4 2,4,5"), ("", "alpha=2.5")),
    _Row("_linalg_gemm", ("3,4 4,5 3,5",), ("alpha=2.5 beta=0.5",)),
    _Row(
        "_linalg_potrf _linalg_potri _linalg_syevd _linalg_inverse _linalg_det _linalg_slogdet"
        " _linalg_sumlogdiag _linalg_extractdiag _npi_cholesky _npi_eigh _npi_eigvalsh _npi_svd"
        " _npi_eig _npi_eigvals",
        ("4,4:definite", "2,3,3:definite", "1,1:definite"),
    ),
    _Row("_linalg_gelqf _npi_svd", ("3,5", "2,3,4", "4,4:definite")),
    _Row(
        "_linalg_trsm _linalg_trmm",
        ("4,4:definite 4,3", "2,4,4:definite 2,4,3"),
        ("", "lower=False"),
    ),
    _Row("_linalg_syrk", ("3,4", "2,3,4"), ("", "transpose=True alpha=0.5")),
    _Row("_npi_solve", ("4,4:definite 4,2", "4,4:definite 4")),
    _Row("_contrib_interleaved_matmul_selfatt_qk", ("5,2,24", "3,1,48"), ("heads=2", "heads=4")),
    _Row(
        "_contrib_interleaved_matmul_selfatt_valatt",
        ("5,2,24 4,5,5", "3,1,24 2,3,3"),
        ("heads=2",),
    ),
    _Row("_contrib_interleaved_matmul_encdec_qk", ("5,2,8 6,2,16",), ("heads=2",)),
    # Random numbers.
    _Row(
        "_random_normal _random_uniform _random_gamma _random_exponential _random_poisson"
        " _random_negative_binomial _random_randint _npi_normal _npi_uniform",
        ("",),
        (
            *(f"shape=(3,5) dtype={one}" for one in (*_FLOATS, "None")),
            *(f"low=1 high=9 shape=(3,5) dtype={one}" for one in ("int32", "int64", "float32")),
            *("loc=1.0 scale=2.0 size=(3,5)", "low=0.5 high=2.5 size=(3,5) dtype=float64"),
            *("alpha=2.0 beta=0.5 shape=(4,)", "lam=4.0 shape=(4,)", "k=3 p=0.4 shape=(4,)"),
        ),
        _ONE,
    ),
    _Row("_sample_normal _sample_uniform", ("3 3:positive",), ("", "shape=(4,)"), _FLOATS),
    _Row("_sample_gamma", ("3:positive 3:positive",), ("", "shape=(4,) dtype=float64"), _FLOATS),
    _Row("_sample_multinomial", ("4:weights", "2,5:weights"), ("", "shape=(3,)", "get_prob=True")),
    _Row("_shuffle", ("7", "4,3", "5,2,2")),
    _Row("_random_normal_like _random_uniform_like", ("3,5",), ("",), _FLOATS),
    # Images.
    _Row("_image_to_tensor", _IMAGES),
    _Row(
        "_image_normalize",
        ("3,5,6", "2,3,5,6"),
        ("mean=(0.5,0.4,0.3) std=(0.2,0.3,0.4)", "mean=0.5"),
    ),
    _Row("_image_resize", _IMAGES, ("size=(5,4)", "size=6 keep_ratio=True", "size=(5,4) interp=2")),
    _Row("_image_crop", _IMAGES, ("x=1 y=2 width=5 height=4",)),
    _Row("_image_flip_left_right _image_flip_top_bottom", _IMAGES),
    _Row(
        "_image_random_brightness _image_random_contrast",
        _IMAGES[:1],
        ("min_factor=0.5 max_factor=1.5",),
    ),
    _Row("_cvimresize", _IMAGES[:1], ("w=5 h=6", "w=5 h=6 interp=2")),
    _Row(
        "_contrib_BilinearResize2D",
        ("2,3,5,6",),
        ("height=7 width=8", "mode=odd_scale scale_height=2"),
    ),
    _Row("_contrib_AdaptiveAvgPooling2D", ("2,3,5,6",), ("output_size=(2,3)", "")),
    # Sparse storage.
    _Row(
        "cast_storage",
        ("5,4:sparse", *_SPARSE),
        tuple(f"stype={s}" for s in ("csr", "row_sparse", "default")),
    ),
    _Row("_sparse_retain", ("5,4:::row_sparse 2:index5:int64", "5,4:::row_sparse 3:index5")),
    # Others.
    _Row(
        "_contrib_box_nms",
        ("6,6:unit", "2,6,6:unit"),
        ("overlap_thresh=0.3", "topk=3 id_index=0 force_suppress=True"),
    ),
    _Row("_contrib_box_iou", ("4,4:unit 3,4:unit",), ("", "format=center")),
    _Row(
        "_contrib_ROIAlign",
        ("2,4,8,8 3,5:index2",),
        ("pooled_size=(2,2) spatial_scale=1.0 sample_ratio=2",),
    ),
    _Row("_contrib_MultiBoxPrior", ("1,3,6,5",), ("sizes=(0.5,0.2) ratios=(1,2)",)),
    _Row("_contrib_fft", ("3,8",), ("", "compute_size=2")),
    _Row("_contrib_quadratic", _SHAPES, ("a=1.5 b=2 c=3",)),
    _Row(
        "_contrib_quantize_v2", ("3,5",), ("", "out_type=int8 min_calib_range=-1 max_calib_range=1")
    ),
    _Row("khatri_rao", ("2,3 4,3",)),
    _Row("_backward_softmax _backward_tanh _backward_gamma", _SAME[:5]),
    # Quantised: numbers, then the least and the largest that they stand for.
    _Row(
        "_contrib_quantized_elemwise_add _contrib_quantized_elemwise_mul",
        ("3,5 3,5 1:below:float32 1:positive:float32 1:below:float32 1:positive:float32",),
    ),
    _Row(
        "_contrib_quantized_act",
        ("3,5 1:below:float32 1:positive:float32", "2,3,4,2 1:below:float32 1:positive:float32"),
        tuple(f"act_type={one}" for one in ("relu", "tanh", "sigmoid")),
    ),
    _Row(
        "_contrib_quantized_concat",
        ("3,5 3,4 1:below:float32 1:positive:float32 1:below:float32 1:positive:float32",),
        ("num_args=2 dim=1",),
    ),
    _Row(
        "_contrib_quantized_fully_connected",
        (
            "4,6 3,6::int8 1:below:float32 1:positive:float32 1:below:float32 1:positive:float32",
            "4,2,3 3,6::int8 1:below:float32 1:positive:float32 1:below:float32 1:positive:float32",
        ),
        ("num_hidden=3 no_bias=True",),
    ),
    _Row(
        "_contrib_quantized_embedding",
        ("4:index7:int32 7,5 1:below:float32 1:positive:float32",),
        ("input_dim=7 output_dim=5",),
    ),
    _Row(
        "_contrib_DeformableConvolution",
        ("1,4,6,6 1,18,4,4 3,4,3,3 3",),
        ("kernel=(3,3) num_filter=3",),
    ),
    # Updates of weights, which change their inputs.
    _Row(
        "sgd_update signsgd_update",
        ("4,3 4,3", "4,3 4,3:::row_sparse"),
        ("lr=0.1", "lr=0.1 wd=0.1 clip_gradient=0.5"),
    ),
    _Row(
        "sgd_mom_update nag_mom_update signum_update",
        ("4,3 4,3 4,3", "4,3 4,3:::row_sparse 4,3"),
        ("lr=0.1 momentum=0.9", "lr=0.1"),
    ),
    _Row(
        "adam_update ftrl_update",
        ("4,3 4,3 4,3:positive 4,3:positive", "4,3 4,3:::row_sparse 4,3 4,3:positive"),
        ("lr=0.1", "lr=0.1 wd=0.01 rescale_grad=0.5"),
    ),
    _Row("lamb_update_phase1", ("4,3 4,3 4,3 4,3:positive",), ("t=2 wd=0.1",)),
    _Row("rmsprop_update", ("4,3 4,3 4,3:positive",), ("lr=0.1",)),
    _Row("multi_sgd_update", ("4,3 4,3 5 5",), ("lrs=(0.1,0.2) wds=(0,0) num_weights=2",)),
    _Row("multi_sum_sq multi_all_finite", ("4,3 5",), ("num_arrays=2",)),
    _Row("reset_arrays", ("4,3 5",), ("num_arrays=2",)),
)
