"""The standard operators of which a single step may be made.

Those that exporters make cells of, and that do a bounded amount of work: neither control flow, nor draws of their own,
nor sizes that depend on values, nor scales taken over a batch, which would let a neighbour change a row. Some do other
than that by an attribute or an input: ``inspection`` refuses training mode, ``probe`` what it sees of mixed rows.
"""

STANDARD = frozenset(
    """
    Abs Add And ArgMax ArgMin BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape
    Cos CumSum DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather
    GatherElements GatherND Gelu Gemm Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax
    Identity InstanceNormalization IsInf IsNaN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax LpNormalization MatMul MatMulInteger Max Mean Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow
    QLinearMatMul QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round
    ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign Split Sqrt
    Squeeze Sub Sum Swish Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
    """.split()  # noqa: SIM905 - a list of 100 strings has more quotes than names
)

SIZED_BY = {"ConstantOfShape": (0,), "Expand": (1,), "OneHot": (1,), "Pad": (1,), "Range": (0, 1, 2), "Tile": (1,)}
"""Which inputs say how large the output of an operator is."""

MEASURES = frozenset({"Shape", "Size"})
"""What depends on the extents of its input alone, not on the values."""
