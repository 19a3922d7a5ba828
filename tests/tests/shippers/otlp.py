"""Sends texts as OTLP log records: `otlp.py grpc|http ENDPOINT TOKEN`, a JSON list of them on stdin."""

import json
import sys

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

protocol, endpoint, token = sys.argv[1:4]
if protocol == "grpc":
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    exporter = OTLPLogExporter(
        endpoint=endpoint,
        insecure=True,
        headers=(("authorization", f"Bearer {token}"),),
        compression=Compression.Gzip,
    )
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    exporter = OTLPLogExporter(
        endpoint=endpoint,
        headers={"authorization": f"Bearer {token}"},
        compression=Compression.Gzip,
    )
provider = LoggerProvider(resource=Resource.create({"service.name": "shop"}))
provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
logger = provider.get_logger("access")
for line in json.load(sys.stdin):
    logger.emit(LogRecord(body=line, severity_number=SeverityNumber.INFO))
provider.shutdown()
