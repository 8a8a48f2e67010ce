"""The model `simple` for MLServer: sum and difference of two tensors."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Simple(MLModel):
    """Answers as our own model of that name does."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Sum and difference."""
        given = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        one, other = given["INPUT0"], given["INPUT1"]
        outputs = {"OUTPUT0": one + other, "OUTPUT1": one - other}
        asked = [each.name for each in payload.outputs or []] or list(outputs)
        return InferenceResponse(
            id=payload.id,
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output(name, outputs[name]) for name in asked],
        )
