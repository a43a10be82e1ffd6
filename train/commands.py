"""The commands `pixelcnnpp train` and `pixelcnnpp train-baseline`: see options.py."""

from keras_pixelcnnpp.command import Commands, library
from keras_pixelcnnpp.train.options import BaselineOptions, PixelCNNOptions, with_options

app = Commands()


@app.command(
    "train",
    "train --data digits --run runs/digits",
    "train --data photographs --run runs/mine --epochs 20",
    "train --data photographs --run runs/mine --epochs 20 --resume",
)
@with_options(PixelCNNOptions)
def train(options: PixelCNNOptions) -> None:
    """Train a PixelCNN++, or another model of the family, into a run folder.

    An option that shows no default has the value of the preset. Where the preset has none either,
    training takes 100 epochs, 16 images per step and a constant learning rate of 0.0002, without
    averaged weights, clipping and mirroring, with samples every 5 epochs; the model has the
    defaults of its class.
    """
    with library():
        from keras_pixelcnnpp.train.training import train_model
    train_model(options)


@app.command("train-baseline", "train-baseline --data digits --run runs/digits")
@with_options(BaselineOptions)
def train_baseline(options: BaselineOptions) -> None:
    """Train the CNN that PixelCNN++ is compared with.

    The CNN classifies. It is trained on the same data, in the same run folder.

    By default, training takes 25 epochs, 64 images per step, a peak learning rate of 0.002,
    averaged weights of the momentum 0.99 and a weight decay of 0.02. Training images are mirrored
    at random, except those of digits and mnist. Gradients are not clipped unless
    --gradient-clip-norm says so.
    """
    with library():
        from keras_pixelcnnpp.train.training import train_cnn
    train_cnn(options)
