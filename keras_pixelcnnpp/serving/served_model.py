"""An exported model as a model of KServe's server."""

import asyncio

import kserve
from kserve.errors import InvalidInput

from keras_pixelcnnpp.errors import UserError
from keras_pixelcnnpp.exported_model import ExportedModel
from keras_pixelcnnpp.serving.predict import predict


class ServedModel(kserve.Model):
    """Answers KServe's V1 protocol, which is TensorFlow Serving's.

    A bad request is answered with status 400 and one line. NaN, which JSON lacks, becomes `null`:
    a picture that can't be decoded has the `class_id` -1 and `null` elsewhere.

    Args:
        name: What the model is called in the address: `/v1/models/NAME:predict`.
        exported: The exported model.
    """

    def __init__(self, name: str, exported: ExportedModel):
        super().__init__(name)
        self._exported = exported
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None) -> dict:
        """Answers one request, in a thread of its own: others are read meanwhile."""
        try:
            return await asyncio.to_thread(predict, self._exported, payload)
        except UserError as error:
            raise InvalidInput(str(error)) from error
