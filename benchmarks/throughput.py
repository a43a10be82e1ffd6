"""Images per second in training, scoring, classification and sampling, beside tfp's PixelCNN.

    python benchmarks/throughput.py --variants --output benchmarks/results/throughput.json
    python benchmarks/throughput.py --candidates --output benchmarks/results/candidates.json

The network is that of the preset `report` (1 block, 40 filters, 5 mixtures, 32×32×3, batch 16), on
random images. Numbers are medians over the rounds, ratios medians of those within the rounds.
"Share of peak" is the arithmetic of the convolutions divided by that of a matrix product of the
same precision. Under TensorFlow it is compared with `tfp.distributions.PixelCNN`, which is
unconditional here (less work than ours).

With `--candidates`, the label enters by `film`, in every block or from the lowest resolution on
(`conditioned_blocks`), and scoring one label is compared with scoring all four.
"""

import re

import keras
import numpy as np
from common import argument_parser, facts, in_turn, random_images, save, show

import keras_pixelcnnpp as kp
from keras_pixelcnnpp.data.batches import ImageSequence
from keras_pixelcnnpp.layers.convolutions import weight_normalized_layers

BATCH = 16
IMAGES = 128
SAMPLES = 25
SHAPE = (32, 32, 3)
NUM_CLASSES = 4
PLACES = ("all", "up", "up_left")
PRODUCT = 2048  # rows of the matrix product that shows what the machine can do


def report(**arguments):
    """The network of the preset, without weights."""
    return kp.PixelCNNPlusPlus.from_preset("report", load_weights=False, **arguments)


def forward_flop(model):
    """Floating-point operations of one image's forward pass, convolutions only."""
    height, width, _ = model.image_shape
    total = 0
    for layer in weight_normalized_layers(model.network):
        level = re.search(r"(?:link_)?(?:down|up)(sampling)?_(\d)", layer.path)
        level = int(level.group(2)) + bool(level.group(1)) if level else 0
        total += 2 * int(np.prod(layer.direction.shape)) * (height * width // 4**level)
    return total


def our_jobs(model, images, labels):
    """What a user calls."""

    def train():
        batches = ImageSequence(images, labels, batch_size=BATCH, num_classes=NUM_CLASSES)
        model.fit(batches, shuffle=False, verbose=0)

    return {
        "train": train,
        "score": lambda: model.log_prob(images, labels, batch_size=BATCH),
        "classify": lambda: model.class_log_likelihoods(images, batch_size=BATCH),
        "sample": lambda: model.sample(labels[:SAMPLES], verbose=0),
    }


def our_model(precision="float32", jit_compile=False):
    """The model, compiled to train."""
    keras.config.set_dtype_policy(precision)
    model = report(conditioning="bias")
    keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.Adam(2e-4), jit_compile=jit_compile)
    return model


def tfp_pixelcnn(images):
    """Tfp's distribution of the same size, built and initialized."""
    import tensorflow_probability as tfp

    distribution = tfp.distributions.PixelCNN(
        image_shape=SHAPE,
        num_resnet=1,
        num_hierarchies=3,
        num_filters=40,
        num_logistic_mix=5,
        dropout_p=0.5,
        use_weight_norm=True,
    )
    distribution.log_prob(images[:BATCH].astype("float32"))
    return distribution


def tfp_jobs(images):
    """The same of tfp's, in a training loop of its own."""
    import tensorflow as tf
    import tf_keras

    distribution = tfp_pixelcnn(images)
    batches = tf.constant(images.astype("float32").reshape(-1, BATCH, *SHAPE))
    optimizer = tf_keras.optimizers.Adam(2e-4)
    optimizer.build(distribution.trainable_variables)

    @tf.function
    def step(batch):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(batch, training=True))
        variables = distribution.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    log_prob = tf.function(lambda batch: distribution.log_prob(batch, training=False))
    return {
        "train": lambda: [step(batch).numpy() for batch in batches],
        "score": lambda: [log_prob(batch).numpy() for batch in batches],
    }


def matrix_product(precision):
    """A large matrix product, which shows what the machine can do."""
    dtype = keras.DTypePolicy(precision).compute_dtype
    matrix = keras.ops.cast(keras.random.normal((PRODUCT, PRODUCT)), dtype)
    # One element is enough to wait for.
    return lambda: float(keras.ops.matmul(matrix, matrix)[0, 0])


def speeds(images, labels, rounds, variants, ours_alone):
    """Measures this package, tfp and the machine: a dictionary for the report."""
    backend = keras.backend.backend()
    model = our_model(jit_compile=backend == "jax")
    precisions = {"keras-pixelcnnpp": "float32"}
    jobs = {"keras-pixelcnnpp": our_jobs(model, images, labels)}
    if variants:
        jobs["… XLA"] = our_jobs(our_model(jit_compile=True), images, labels)
        del jobs["… XLA"]["sample"]  # which does not depend on it
        jobs["… mixed_bfloat16"] = our_jobs(our_model("mixed_bfloat16"), images, labels)
        precisions["… mixed_bfloat16"] = "mixed_bfloat16"
    tfp = "tfp.distributions.PixelCNN"
    if backend == "tensorflow" and not ours_alone:
        jobs[tfp] = tfp_jobs(images)
    products = {("peak", name): matrix_product(name) for name in set(precisions.values())}
    all_jobs = {(name, job): work for name, own in jobs.items() for job, work in own.items()}
    times = in_turn(products | all_jobs, rounds)

    peaks = {name: 2 * PRODUCT**3 / np.median(times["peak", name]) for _, name in products}
    flop = forward_flop(model)
    work = {"train": 3 * flop, "score": flop}
    rows = []
    for name, job in all_jobs:
        rate = (SAMPLES if job == "sample" else IMAGES) / np.median(times[name, job])
        row = {"name": name, "job": job, "images_per_second": round(float(rate), 2)}
        if (tfp, job) in times:
            ratio = np.median(times[tfp, job] / times[name, job])
            row["speed_relative_to_tfp"] = round(float(ratio), 3)
        if job in work:
            peak = peaks[precisions.get(name, "float32")]
            row["share_of_peak"] = round(float(rate * work[job] / peak), 3)
        rows.append(row)
    return {
        "batch": BATCH,
        "forward_gflop_per_image": round(flop / 1e9, 3),
        "peak_gflop_per_second": {name: round(peak / 1e9, 1) for name, peak in peaks.items()},
        "rows": rows,
    }


def cost_of_candidates(images, labels, rounds):
    """Measures one label against all of them, by where the label enters."""
    rows = []
    for place in PLACES:
        model = report(conditioning="film", conditioned_blocks=place)
        jobs = our_jobs(model, images, labels)
        times = in_turn({name: jobs[name] for name in ("score", "classify")}, rounds)
        row = {
            "conditioned_blocks": place,
            "one_label": IMAGES / np.median(times["score"]),
            "four_labels": IMAGES / np.median(times["classify"]),
            "cost": np.median(times["classify"] / times["score"]),
        }
        rows.append(row)
    return {"rows": rows}


def main():
    kp.keep_freed_memory()
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variants", action="store_true", help="also XLA and mixed_bfloat16")
    parser.add_argument("--ours", action="store_true", help="this package alone")
    parser.add_argument("--candidates", action="store_true", help="one label against all")
    options = parser.parse_args()
    images, labels = random_images(IMAGES, SHAPE, NUM_CLASSES)
    if options.candidates:
        result = cost_of_candidates(images, labels, options.rounds)
    else:
        result = speeds(images, labels, options.rounds, options.variants, options.ours)
    show(result["rows"])
    save(facts() | result, options.output)


if __name__ == "__main__":
    main()
