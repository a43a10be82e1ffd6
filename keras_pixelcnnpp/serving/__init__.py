"""An exported model behind a web server that speaks TensorFlow Serving's REST protocol."""

from keras_pixelcnnpp.serving.predict import predict
from keras_pixelcnnpp.serving.server import serve, tensorflow_serving_command

__all__ = ["predict", "serve", "tensorflow_serving_command"]
