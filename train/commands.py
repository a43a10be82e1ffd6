"""The commands `pixelcnnpp train` and `pixelcnnpp train-baseline`. `options.py` has the options."""

from keras_pixelcnnpp.command import Commands, library, with_options
from keras_pixelcnnpp.train.options import BaselineOptions, PixelCNNOptions

app = Commands()


@app.command(
    "train",
    "train --data digits --run runs/digits",
    "train --data photographs --run runs/mine --epochs 20",
    "train --data photographs --run runs/mine --epochs 20 --resume",
)
@with_options(PixelCNNOptions)
def train(options: PixelCNNOptions) -> None:
    """Train a PixelCNN++, Gated PixelCNN or PixelCNN, and write it to a run folder.

    Options without a default take their value from the preset. If the preset does not set them,
    training runs for 100 epochs with 16 images per step and a constant learning rate of 0.0002,
    without weight averaging, gradient clipping or flipping, and logs samples every 5 epochs; the
    model has the defaults of its class.
    """
    with library():
        from keras_pixelcnnpp.train.training import train_model
    train_model(options)


@app.command("train-baseline", "train-baseline --data digits --run runs/digits")
@with_options(BaselineOptions)
def train_baseline(options: BaselineOptions) -> None:
    """Train a baseline CNN, a classifier to compare the PixelCNN++ with.

    Use the same data and the same run folder for both.

    By default, training runs for 25 epochs with 64 images per step, a peak learning rate of 0.02,
    weight averaging with a momentum of 0.99 and a weight decay of 0.02. Training images are
    randomly flipped, except those of digits and mnist. Gradients are not clipped.
    """
    with library():
        from keras_pixelcnnpp.train.training import train_cnn
    train_cnn(options)
