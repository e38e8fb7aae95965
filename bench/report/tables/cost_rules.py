"""The rules of the counts, one paragraph each, as they stand in bench/README.md and under the table of costs."""

OURS = (
    "Ours counts what PyTorch runs in one forward pass of one clip in evaluation mode, with the model built from "
    "PyTorch's own operators. A contraction (linear, convolution, einsum, attention, LSTM, graph convolution, any "
    "other matrix product) costs the MACs of its product or convolution, half of what PyTorch's FlopCounterMode "
    "reports; biases are free, and an einsum over a dimension of one is elementwise, not a contraction. Attention "
    "holds the products of two activations, graph convolution those with the adjacency; their projections count as "
    "linear. A scan costs 9 B L D N, plus B L D for its skip: the mamba authors' rule. What happens inside a scan is "
    "counted nowhere else. MACs are contractions and scans. Operators that only view, copy, index or allocate are "
    "free; every other operator is either elementwise or named as uncounted."
)
ELEMENTWISE = (
    "Elementwise operations are not MACs and are listed beside them: one for each output element of a pointwise "
    "operator (an activation function is one), one for each input element of a reduction (sum, mean, maximum, vector "
    "norm), 5 for each element of a softmax, 7 for each element of a layer or group norm (5 without weight and "
    "bias), 2 for each element of a batch norm with running statistics."
)
THOP = (
    "The papers print what thop counts. It adds up the modules that are called and that it has a rule for: linear "
    "and convolution without biases, recurrent layers with their gates, 4 for each element of a norm. It does not "
    "see what functions do (einsum, attention, scans, sums, activation functions), and it counts the parameters of "
    "those modules only. The table by operator names the modules with parameters that it left out."
)
FVCORE = (
    "fvcore (FlopCountAnalysis) traces the model, here its plain form, and counts a multiply-add as one: linear, "
    "convolution, matrix product and einsum, 5 for each element of a layer norm, 2 for each element of a batch norm. "
    "It rounds an einsum to four digits, and of a matrix times a batch of matrices it counts one product only. A "
    "list of its own makes named activation functions (ReLU), clamps, dropout and moves free; the table by operator "
    "names every other operator that it has no rule for (LSTM, fused attention, scans)."
)
MEMORY = (
    "Kept for backward: bytes of the distinct storages that autograd keeps from the forward pass of one clip in "
    "training mode, in float32, parameters and buffers left out; a scan keeps its inputs and computes its states "
    "again. Peak of inference: the most bytes that distinct storages take at the end of any operator of a forward "
    "pass of one clip in evaluation mode, in float32, clip and answer included, parameters, buffers and cached tables "
    "left out; a scan is one operator that adds its output, whichever implementation runs, and the LSTM of a "
    "registered model works frame by frame. Both belong to the plain form of a model; fused operators and "
    "the scan that runs take more or less. What a process takes while it runs is in the table of speed."
)
FRAMES = (
    "Per output frame: the clip divided by the poses that it yields. A centre-frame model yields one, so a video, over "
    "which its window slides frame by frame, costs one whole clip per frame."
)
