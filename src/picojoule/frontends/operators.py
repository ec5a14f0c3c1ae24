"""What every known ONNX operator does to an estimate, as data: one table for each domain.

An operator is *counted* (its products become layers), has *no products* (it moves, compares, adds,
scales element by element, pools, normalises or interpolates, which the field counts as no MACs),
*multiplies* sums of products that no layer stands for, or is *control* around other graphs.
Whatever is in no table is *unknown*. What multiplies or is unknown makes an estimate incomplete.

The tables hold the operators of onnx 1.23 and onnxruntime 1.32 (all opsets), and those of QONNX.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class OperatorKind(Enum):
    """What is done with an operator."""

    COUNTED = "counted"
    NO_PRODUCTS = "no products"
    MULTIPLIES = "not modelled"
    CONTROL = "control flow"
    UNKNOWN = "unknown"


def kind_of(domain: str, operator: str) -> OperatorKind:
    """What is done with *operator* of *domain* (``""`` is ONNX's own).

    >>> kind_of("com.microsoft", "MatMulNBits").value, kind_of("", "DFT").value
    ('counted', 'not modelled')
    """
    return OPERATORS.get(domain, {}).get(operator, OperatorKind.UNKNOWN)


def _table(**names: str) -> Mapping[str, OperatorKind]:
    return MappingProxyType(
        {
            operator: OperatorKind[kind.upper()]
            for kind, operators in names.items()
            for operator in operators.split()
        }
    )


_ONNX = _table(
    counted="""
        AffineGrid Attention CausalConvWithState Conv ConvInteger ConvTranspose DeformConv Einsum
        GRU Gemm LSTM MatMul MatMulInteger QLinearConv QLinearMatMul RNN
    """,
    control="If Loop Scan",
    multiplies="""
        DFT Det DisentangledAttention_TRT GRUUnit LinearAttention STFT
    """,
    no_products="""
        Abs Acos Acosh Add Affine And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool
        BatchNormalization Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
        BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Clip Col2Im Compress Concat
        ConcatFromSequence Constant ConstantOfShape Cos Cosh Crop CumProd CumSum DepthToSpace
        DequantizeLinear Div Dropout DynamicQuantizeLinear DynamicSlice EfficientNMS_TRT Elu Equal
        Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu GivenTensorFill
        GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample
        GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity
        ImageDecoder ImageScaler InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu
        Less LessOrEqual Log LogSoftmax LpNormalization LpPool Max MaxPool MaxRoiPool MaxUnpool
        Mean MeanVarianceNormalization MelWeightMatrix MemcpyFromHost MemcpyToHost Min Mish Mod Mul
        Multinomial MultilevelCropAndResize_TRT Neg NegativeLogLikelihoodLoss NonMaxSuppression
        NonZero Not OneHot Optional OptionalGetElement OptionalHasElement Or PRelu Pad
        ParametricSoftplus Pow PyramidROIAlign_TRT QuantizeLinear RMSNormalization RandomNormal
        RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2
        ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
        ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding
        Round Scale ScaledTanh Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct
        SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap Shape Shrink Sigmoid Sign
        SimplifiedLayerNormalization Sin Sinh Size Slice Softmax SoftmaxCrossEntropyLoss Softplus
        Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze StringConcat StringNormalizer
        StringSplit Sub Sum SwiGLU Swish Tan Tanh TensorScatter TfIdfVectorizer ThresholdedRelu
        Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
    """,
)

_ONNX_ML = _table(
    counted="LinearClassifier LinearRegressor",
    multiplies="SVMClassifier SVMRegressor",
    no_products="""
        ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer
        Imputer LabelEncoder Normalizer OneHotEncoder Scaler TreeEnsemble TreeEnsembleClassifier
        TreeEnsembleRegressor ZipMap
    """,
)

_PREVIEW = _table(multiplies="FlexAttention")
_TRAINING = _table(multiplies="Adagrad Adam Gradient Momentum")

_MICROSOFT = _table(
    counted="""
        Attention CDist CausalConvWithState ConvTransposeWithDynamicPads DecoderAttention
        DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention DynamicQuantizeLSTM
        DynamicQuantizeMatMul FusedConv FusedGemm FusedMatMul FusedMatMulActivation GemmFastGelu
        GemmFloat8 GroupQueryAttention MatMulBlockQuantizedFp4Weight MatMulBlockQuantizedFp8Weight
        MatMulBnb4 MatMulFpQ4 MatMulInteger16 MatMulIntegerToFloat MatMulNBits MatMulNBitsMlp
        MatMulNBitsQLoRA MatMulNBitsQkv MatMulPacked MoE MultiHeadAttention NhwcConv NhwcFusedConv
        PackedAttention PackedMultiHeadAttention QAttention QGemm QLinearConv QMoE QOrderedMatMul
        RouterGateUpProj SparseToDenseMatMul TransposeMatMul
    """,
    multiplies="""
        AttnLSTM BeamSearch DynamicSparseAttention DynamicTimeWarping ConvStateReplay EPContext
        EngramGate GatedDeltaNet GatedDeltaNetStateReplay GatedRelativePositionBias GreedySearch
        HyperConnectionLowRankMix HyperConnectionPostMix HyperConnectionPreMix Inverse Irfft
        LinearAttention LinearAttentionGate LongformerAttention Mamba2Verify MoEPacked
        PackedSparseAttentionIndexer PackedSparseAttentionIndexerMerge PagedAttention
        QOrderedAttention QOrderedLongformerAttention Rfft Sampling Snpe SparseAttention
        SparseAttentionIndexer SparsePagedAttention VarlenCausalConvWithState WhisperBeamSearch
        WordConvEmbedding
    """,
    no_products="""
        BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu BifurcationDetector
        BitmaskBiasDropout BitmaskDropout BranchwiseRMSNorm ComplexMul ComplexMulConj CropAndResize
        DequantizeBFP DequantizeLinear DequantizeWithOrder EmbedLayerNormalization ExpandDims
        FastGelu GatedAdd GatedRMSNorm GatherBlockQuantized GatherND GatherPacked Gelu
        GemmaRotaryEmbedding GridSample GroupNorm IsAllFinite MRotaryEmbedding MaxpoolWithMask
        MoEGroupRouter MulInteger MurmurHash3 NGramHashMapping NGramRepeatBlock NhwcMaxPool Pad
        QEmbedLayerNormalization QLinearAdd QLinearAveragePool QLinearConcat
        QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid
        QLinearSoftmax QLinearWhere QOrderedGelu QOrderedLayerNormalization QuantizeBFP
        QuantizeLinear QuantizeWithOrder QuickGelu RMSNormRotary Range ReduceSumInteger
        RelativePositionBias RemovePadding RestorePadding RotaryEmbedding SampleOp ScaledSiLU
        SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization
        SpeculativePrefixCommit SwiGLU Tokenizer TorchEmbedding Trilu UnfoldTensor Unique
        VarlenNGramHashMapping
    """,
)

_NCHWC = _table(
    counted="Conv",
    no_products="""
        AveragePool GlobalAveragePool GlobalMaxPool MaxPool ReorderInput ReorderOutput Upsample
    """,
)

_NHWC = _table(
    counted="Conv ConvTranspose QLinearConv QLinearConvTranspose",
    no_products="""
        AveragePool BatchNormalization DepthToSpace GlobalAveragePool GlobalLpPool GlobalMaxPool
        GridSample InstanceNormalization LRN LpPool MaxPool MaxUnpool QLinearAveragePool Resize
        SpaceToDepth
    """,
)

_QONNX = _table(no_products="BipolarQuant FloatQuant IntQuant Quant Trunc")

OPERATORS: Mapping[str, Mapping[str, OperatorKind]] = MappingProxyType(
    {
        "": _ONNX,
        "ai.onnx.ml": _ONNX_ML,
        "ai.onnx.preview": _PREVIEW,
        "ai.onnx.preview.training": _TRAINING,
        "com.microsoft": _MICROSOFT,
        "com.microsoft.nchwc": _NCHWC,
        "com.ms.internal.nhwc": _NHWC,
        "qonnx.custom_op.general": _QONNX,
        "onnx.brevitas": _QONNX,
    }
)
"""Domain -> operator -> what is done with it."""
