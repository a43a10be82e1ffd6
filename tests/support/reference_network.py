"""PixelCNN++ in plain float64 NumPy, written from the papers.

It computes one output pixel at a time, for one image and one label, and shares only the names of
weights with the library. Features are arrays `(height, width, channels)`.

References: Salimans et al. 2017, PixelCNN++ (network, mixture); Salimans & Kingma 2016 (weight
normalization); the conditioning strategies as in the table of the library's documentation.
"""

import numpy as np
from reference_mixture import ReferencePixel, log_sigmoid


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def concat_elu(x):
    return elu(np.concatenate([x, -x], axis=-1))


def softmax(x):
    weights = np.exp(x - x.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def convolution(x, kernel, bias, rows, columns, stride=1):
    """Output (i, j) sums `x[i * stride + r, j * stride + c]` over the offsets r and c."""
    height, width, _ = x.shape
    output = np.zeros((height // stride, width // stride, kernel.shape[-1]))
    for i, j in np.ndindex(output.shape[:2]):
        output[i, j] = bias
        for r, row in enumerate(rows):
            for c, column in enumerate(columns):
                y, z = i * stride + row, j * stride + column
                if 0 <= y < height and 0 <= z < width:
                    output[i, j] += x[y, z] @ kernel[r, c]
    return output


def transposed_convolution(x, kernel, bias, columns):
    """Input (i, j) adds to `output[2i + r, 2j + c]`, r in 0, 1 and c in the offsets `columns`."""
    height, width, _ = x.shape
    output = np.zeros((2 * height, 2 * width, kernel.shape[-1])) + bias
    for i, j in np.ndindex(height, width):
        for r in range(2):
            for c, column in enumerate(columns):
                if 0 <= 2 * j + column < 2 * width:
                    output[2 * i + r, 2 * j + column] += x[i, j] @ kernel[:, r, c]
    return output


class ReferencePixelCNN:
    """log p(x | y) of a PixelCNN++ with the given weights.

    Args:
        weights: Dict from paths such as `"head/bias"` to float64 arrays.
        num_blocks, num_resolutions, num_levels: As in the library.
        conditioning: Names of strategies, joined by `+`.
    """

    def __init__(self, weights, num_blocks, num_resolutions, num_levels, conditioning="none"):
        self.weights = weights
        self.num_blocks = num_blocks
        self.num_resolutions = num_resolutions
        self.num_levels = num_levels
        self.strategies = conditioning.split("+")

    def log_prob(self, image, label=None):
        """Returns log p in nats for an image of levels, int `(height, width, channels)`."""
        parameters = self.parameters(image, label)
        return sum(
            ReferencePixel(parameters[i, j], image.shape[-1], self.num_levels).log_prefix(
                image[i, j]
            )
            for i, j in np.ndindex(image.shape[:2])
        )

    def parameters(self, image, label=None):
        """Returns the mixture parameters, `(height, width, num_parameters)`."""
        self.label = label
        ones = np.ones((*image.shape[:2], 1))
        pixels = np.concatenate([2.0 * image / (self.num_levels - 1) - 1.0, ones], axis=-1)
        if "one_hot" in self.strategies:
            code = np.eye(self.num_classes)[label]
            pixels = np.concatenate([pixels, ones * code], axis=-1)

        # Stream u sees the rows above. Stream ul sees the rows above and the pixels on the left.
        u = self.convolve("vertical_stem", pixels, rows=(-2, -1), columns=(-1, 0, 1))
        ul = self.convolve("horizontal_stem_above", pixels, rows=(-1,), columns=(-1, 0, 1))
        ul = ul + self.convolve("horizontal_stem_left", pixels, rows=(-1, 0), columns=(-1,))
        u, ul = self.embed("vertical", u), self.embed("horizontal", ul)
        links = self.stream("vertical_stack", u, (-1, 0, 1), links=None)
        outputs = self.stream("horizontal_stack", ul, (-1, 0), links)

        features = elu(list(outputs.values())[-1])
        parameters = self.dense("head", features)
        if "mixture_head" in self.strategies:
            parameters = parameters + features @ self.table("mixture_head_head/kernels")
        return parameters

    def stream(self, name, x, columns, links):
        """Runs all blocks of a stream, down and up; returns their outputs by name."""
        outputs = {}

        def block(block_name, x, shortcut=None):
            link = 0
            if links is not None:
                link = self.dense(f"link_{block_name}", concat_elu(links[block_name]))
            outputs[block_name] = self.block(f"{name}/{block_name}", x, columns, shortcut, link)
            return outputs[block_name]

        lowest = self.num_resolutions - 1
        shortcuts = []
        for level in range(self.num_resolutions):
            shortcuts.append([x])
            for index in range(self.num_blocks):
                x = block(f"down_{level}_{index}", x)
                shortcuts[level].append(x)
            if level < lowest:
                x = self.convolve(f"{name}/downsampling_{level}", x, (-1, 0), columns, stride=2)
        x = self.bottleneck(name, x)
        shortcuts[lowest].pop()
        for level in reversed(range(self.num_resolutions)):
            for index in range(self.num_blocks + (level < lowest)):
                x = block(f"up_{level}_{index}", x, shortcuts[level].pop())
            if level > 0:
                # A kernel of three columns is centered; one of two columns extends to the right.
                columns_up = (-1, 0, 1) if len(columns) == 3 else (0, 1)
                kernel, bias = self.kernel(f"{name}/upsampling_{level - 1}")
                x = transposed_convolution(x, kernel, bias, columns_up)
        return outputs

    def block(self, name, x, columns, shortcut, link):
        """Runs a gated residual block."""
        hidden = self.convolve(f"{name}/input_conv", concat_elu(x), (-1, 0), columns)
        if shortcut is not None:
            hidden = hidden + self.dense(f"{name}/shortcut_dense", concat_elu(shortcut))
        hidden = hidden + link
        if "film" in self.strategies:
            gamma, beta = (self.table(f"{name}/film_hidden/{part}") for part in ("gamma", "beta"))
            hidden = (1 + gamma) * hidden + beta
        if "adaptive_norm" in self.strategies:
            place = f"{name}/adaptive_norm_hidden"
            gamma, beta = (self.table(f"{place}/{part}") for part in ("gamma", "beta"))
            centered = hidden - hidden.mean(axis=-1, keepdims=True)
            deviation = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)
            hidden = (1 + gamma) * centered / deviation + beta
        gate = self.convolve(f"{name}/gate_conv", concat_elu(hidden), (-1, 0), columns)
        if "bias" in self.strategies:
            gate = gate + self.table(f"{name}/bias_gate/table")
        a, b = np.split(gate, 2, axis=-1)
        return x + a * np.exp(log_sigmoid(b))

    def embed(self, stack, x):
        if "embedding" in self.strategies:
            return x + self.table(f"{stack}_embedding_stem/table")
        return x

    def bottleneck(self, name, x):
        if "spatial" in self.strategies:
            x = x + self.table(f"{name}/spatial_bottleneck/table")
        if "cross_attention" in self.strategies:
            place = f"{name}/cross_attention_bottleneck"
            keys, values = self.table(f"{place}/keys"), self.table(f"{place}/values")
            queries = x @ self.weights[f"{place}/query"]
            attention = softmax(queries @ keys.T / np.sqrt(x.shape[-1]))
            x = x + attention @ values @ self.weights[f"{place}/output"]
        return x

    @property
    def num_classes(self):
        """Returns the number of classes, which is the length of label tables."""
        return next(len(w) for path, w in self.weights.items() if path.endswith("table"))

    def table(self, path):
        return self.weights[path][self.label]

    def kernel(self, layer):
        """Returns weight-normalized kernel and bias; norms are over all but the output channel."""
        direction = self.weights[f"{layer}/direction"]
        norm = np.sqrt((direction.reshape(-1, direction.shape[-1]) ** 2).sum(axis=0))
        gain = self.weights[f"{layer}/gain"].reshape(-1)
        return direction / norm * gain, self.weights[f"{layer}/bias"]

    def convolve(self, layer, x, rows, columns, stride=1):
        return convolution(x, *self.kernel(layer), rows, columns, stride)

    def dense(self, layer, x):
        kernel, bias = self.kernel(layer)
        return x @ kernel + bias
