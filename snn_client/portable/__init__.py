"""Models that leave this project: one ONNX file for any runtime, and a run in MLflow."""
