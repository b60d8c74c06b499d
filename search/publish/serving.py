"""The model that MLflow serves, as code: this file is loaded by `mlflow models serve`, no pickle.

A request is JSON, `{"dataframe_records": [RECORD, …]}`. A RECORD is an audio file, `{"audio": "<its bytes in base64>"}`
(WAV, FLAC, OGG, MP3), or samples, `{"samples": [0.01, …], "sample_rate_hz": 16000}`. The answer is
`{"predictions": [{"emotion": …, "probability": …, "probabilities": {…}}, …]}`. Records of one request are of one kind.
What cannot be heard gets status 400 and the reason.
"""

from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array, Map

from sermodels.corpora import audio
from sermodels.deploy.recogniser import Recogniser
from sermodels.errors import UserError

BUNDLE = "bundle"  # the artifact: a model's folder
SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.binary, "audio", required=False),
            ColSpec(Array(DataType.double), "samples", required=False),
            ColSpec(DataType.double, "sample_rate_hz", required=False),  # not a long: those may not be missing in a row
        ]
    ),
    outputs=Schema(
        [
            ColSpec(DataType.string, "emotion"),
            ColSpec(DataType.double, "probability"),
            ColSpec(Map(DataType.double), "probabilities"),
        ]
    ),
)
MOST = 64  # recordings a request
LONGEST_S = 60.0  # of a recording, of which the model hears the beginning: a small request must not fill the memory


class EmotionModel(PythonModel):
    """Answers the rows of a data frame with the columns of SIGNATURE."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the model."""
        self.model = Recogniser(context.artifacts[BUNDLE])

    # MLflow looks at the parameters' names, and lets a model leave out those that it does not use.
    def predict(self, model_input: pd.DataFrame) -> list[dict[str, Any]]:  # type: ignore[override]
        """Name the emotion in each row.

        Raises:
            MlflowException: a row that cannot be heard, or too many of them; status 400 of a server.
        """
        if not 1 <= len(model_input) <= MOST:
            raise _refused(f"{len(model_input)} recordings in a request; expected 1 to {MOST}")
        try:
            waveforms = [self._waveform(number, row) for number, row in enumerate(model_input.to_dict("records"))]
        except UserError as error:
            raise _refused(str(error)) from None
        return [self.model.described(probabilities) for probabilities in self.model.run(waveforms).probabilities]

    def _waveform(self, number: int, row: dict[str, Any]) -> np.ndarray:
        name, encoded, samples = f"record {number}", row.get("audio"), row.get("samples")
        if (encoded is None) == (samples is None):
            raise UserError(f"{name}: expected either audio (a file in base64) or samples")
        sample_rate_hz, trim_db = self.model.sample_rate_hz, self.model.trim_db
        if encoded is not None:
            return self._beginning(audio.decode(encoded, name, sample_rate_hz, LONGEST_S, trim_db))
        rate_hz = row.get("sample_rate_hz")
        if rate_hz is None or pd.isna(rate_hz):
            raise UserError(f"{name}: samples without sample_rate_hz, their rate; the model takes any")
        if not float(rate_hz).is_integer():
            raise UserError(f"{name}: sample_rate_hz = {rate_hz}; expected a whole number")
        waveform = np.asarray(samples, np.float32)
        return self._beginning(audio.from_samples(waveform, name, int(rate_hz), sample_rate_hz, trim_db))

    def _beginning(self, waveform: np.ndarray) -> np.ndarray:
        return waveform[: round(self.model.clip_s * self.model.sample_rate_hz)].copy()


def _refused(reason: str) -> MlflowException:
    refused: MlflowException = MlflowException.invalid_parameter_value(reason)
    return refused


mlflow.models.set_model(EmotionModel())
