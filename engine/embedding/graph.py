"""The ONNX graph of a BERT encoder, built from its weights, in fp32 or int8.

The nodes are ONNX Runtime's own fused ones where they measured faster (attention, the quantised
products, gelu) and plain ones where they did not; they are written down directly, because its
optimiser no longer finds the attention in a graph that is quantised. Figures:
docs/decisions/0003-default-model.md.

int8 is dynamic: weights are stored as int8 with one scale per output column, activations are scaled
per call. All eight bits are used: with seven, as hosts without VNNI would have it, the vectors fall
below the quality that the model's entry promises. Not here: where weights come from (`weights`),
and what stays fp32 beside them (`loud`).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.embedding.loud import Beside, set_apart

MICROSOFT = "com.microsoft"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "last_hidden_state"
HEAD_WIDTH = 32
EPSILON = 1e-12
Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]


def encoder(tensors: Mapping[str, Floats], *, int8: bool) -> bytes:
    """The serialised graph: three int64 (batch, tokens) inputs, one (batch, tokens, width) output.

    Raises KeyError when a tensor of the encoder is missing.
    """
    serialised: bytes = _Builder(tensors, int8=int8).model().SerializeToString()
    return serialised


class _Builder:
    def __init__(self, tensors: Mapping[str, Floats], *, int8: bool) -> None:
        self._tensors, self._beside = set_apart(tensors) if int8 else (tensors, {})
        self._int8 = int8
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._width = tensors["embeddings.word_embeddings.weight"].shape[1]

    def model(self) -> onnx.ModelProto:
        hidden = self._embeddings()
        layers = sum(name.endswith(".attention.self.query.weight") for name in self._tensors)
        for layer in range(layers):
            hidden = self._layer(f"encoder.layer.{layer}.", hidden)
        self._nodes.append(helper.make_node("Identity", [hidden], [OUTPUT], name=OUTPUT))
        shape = ["batch", "tokens"]
        inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in INPUTS]
        output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [*shape, self._width])
        graph = helper.make_graph(self._nodes, "encoder", inputs, [output], self._constants)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def _embeddings(self) -> str:
        ids = [self._node("Cast", [name], domain="", to=TensorProto.INT32) for name in INPUTS]
        tables = [
            self._weight(f"embeddings.{table}_embeddings.weight")
            for table in ("word", "position", "token_type")
        ]
        norm = self._norm("embeddings.LayerNorm")
        self._mask = ids[1]
        # The second output, the lengths of the rows, is required by the operator and not used.
        return self._node(
            "EmbedLayerNormalization", [ids[0], ids[2], *tables, *norm], outputs=2, epsilon=EPSILON
        )

    def _layer(self, at: str, hidden: str) -> str:
        mixed = self._attention(at + "attention.self.", hidden)
        hidden = self._projected_back(at + "attention.output.", mixed, added=[hidden])
        wide = self._projected(at + "intermediate.dense", hidden)
        active = self._node("Gelu", [wide])
        beside = [self._apart(at, hidden, self._beside[at])] if at in self._beside else []
        return self._projected_back(at + "output.", active, added=[hidden, *beside])

    def _apart(self, at: str, hidden: str, beside: Beside) -> str:
        weights = [
            self._constant(f"{at}apart.{part}", values)
            for part, values in zip(beside._fields, beside, strict=True)
        ]
        inner = self._node("MatMul", [hidden, weights[0]], domain="")
        active = self._node("BiasGelu", [inner, weights[1]])
        return self._node("MatMul", [active, weights[2]], domain="")

    def _attention(self, at: str, hidden: str) -> str:
        parts = ("query", "key", "value")
        weight = np.concatenate([self._tensors[f"{at}{p}.weight"].T for p in parts], axis=1)
        bias = np.concatenate([self._tensors[f"{at}{p}.bias"] for p in parts])
        bias_name = self._constant(at + "bias", bias)
        heads = self._width // HEAD_WIDTH
        if not self._int8:
            weight_name = self._constant(at + "weight", weight)
            inputs = [hidden, weight_name, bias_name, self._mask]
            return self._node("Attention", inputs, num_heads=heads)
        values, scale, zero = self._quantised(at, weight)
        row = self._node("DynamicQuantizeLinear", [hidden], domain="", outputs=3)
        inputs = [row, values, bias_name, row + ":1", scale, self._mask, row + ":2", zero]
        return self._node("QAttention", inputs, num_heads=heads)

    def _projected_back(self, at: str, hidden: str, *, added: list[str]) -> str:
        # Sum, where Add would do: ONNX Runtime makes one SkipLayerNormalization of Add and what
        # follows, and that takes three times as long as the two apart.
        total = self._node("Sum", [self._projected(at + "dense", hidden), *added], domain="")
        inputs = [total, *self._norm(at + "LayerNorm")]
        return self._node("LayerNormalization", inputs, domain="", axis=-1, epsilon=EPSILON)

    def _projected(self, dense: str, hidden: str) -> str:
        weight = self._tensors[dense + ".weight"].T
        bias = self._weight(dense + ".bias")
        if self._int8:
            inputs = [hidden, *self._quantised(dense, weight), bias]
            return self._node("DynamicQuantizeMatMul", inputs)
        product = self._node("MatMul", [hidden, self._constant(dense, weight)], domain="")
        return self._node("Add", [product, bias], domain="")

    def _quantised(self, name: str, weight: Floats) -> tuple[str, str, str]:
        """Constants of a (rows, columns) weight: int8 values, one scale per column, zero point."""
        scale = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
        scale[scale == 0] = 1  # a column of zeros stays one
        values = np.rint(weight / scale).astype(np.int8)
        return (
            self._constant(name + ".int8", values),
            self._constant(name + ".scale", scale),
            self._constant(name + ".zero", np.zeros((), dtype=np.int8)),
        )

    def _norm(self, name: str) -> list[str]:
        return [self._weight(name + ".weight"), self._weight(name + ".bias")]

    def _weight(self, name: str) -> str:
        return self._constant(name, self._tensors[name])

    def _constant(self, name: str, values: Array) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(
        self,
        operator: str,
        inputs: list[str],
        *,
        domain: str = MICROSOFT,
        outputs: int = 1,
        **attributes: float,
    ) -> str:
        """Append a node; its first output is returned, the others are that name with :1, :2."""
        name = f"{operator}.{len(self._nodes)}"
        names = [name, *(f"{name}:{index}" for index in range(1, outputs))]
        node = helper.make_node(operator, inputs, names, name=name, domain=domain, **attributes)
        self._nodes.append(node)
        return name
