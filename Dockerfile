# What docker-compose.yaml runs: `airflow` has the plugin, by its entry point; `emulator` is AWS's.

FROM apache/airflow:3.3.2-python3.12 AS airflow
COPY --chown=airflow:0 pyproject.toml README.md LICENSE /opt/snn/
COPY --chown=airflow:0 cloudformation /opt/snn/cloudformation
COPY --chown=airflow:0 lambda_functions /opt/snn/lambda_functions
COPY --chown=airflow:0 notebooks /opt/snn/notebooks
COPY --chown=airflow:0 plugins /opt/snn/plugins
COPY --chown=airflow:0 snn_cli /opt/snn/snn_cli
COPY --chown=airflow:0 snn_client /opt/snn/snn_client
# By the constraints that the image was built with: nothing in it is replaced. They do not name the last two.
RUN pip install --no-cache-dir \
    --constraint "https://raw.githubusercontent.com/apache/airflow/constraints-${AIRFLOW_VERSION}/constraints-3.12.txt" \
    "apache-airflow==${AIRFLOW_VERSION}" /opt/snn h5py==3.16.0 pillow==13.0.0 pyarrow==26.0.1

FROM python:3.12.13-slim-bookworm AS emulator
WORKDIR /opt/emulator
COPY snn_cli/local/emulator.txt snn_cli/local/launcher.py ./
RUN pip install --no-cache-dir --require-hashes -r emulator.txt && mkdir layers && chown nobody layers
USER nobody
# -P: the launcher's folder must not be on the path of a server that imports by common names.
CMD ["python", "-P", "launcher.py", "layers"]
