"""What the fake AWS Bedrock was sent and what it answered, judged by AWS's botocore."""

import base64
import json
import os
import urllib.parse

import botocore.session
from botocore import eventstream, parsers
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.validate import ParamValidator

from checks import run, same

with open(os.environ["EXCHANGED"], encoding="utf-8") as f:
    EXCHANGED = json.load(f)
MODEL = botocore.session.get_session().get_service_model("bedrock-runtime")
OPERATIONS = {"converse": "Converse", "converse-stream": "ConverseStream", "invoke": "InvokeModel"}


def operation(x):
    """The operation of a request, and the model in its path."""
    _, kind, model, verb = urllib.parse.urlsplit(x["URI"]).path.split("/")
    same(kind, "model")
    return MODEL.operation_model(OPERATIONS[verb]), urllib.parse.unquote(model)


def check_there_are_some():
    kinds = {operation(x)[0].name for x in EXCHANGED}
    same(kinds, {"Converse", "ConverseStream", "InvokeModel"})
    assert len(EXCHANGED) > 20, len(EXCHANGED)


def check_requests():
    for x in EXCHANGED:
        op, model = operation(x)
        body = base64.b64decode(x["Body"])
        params = {"modelId": model, **({"body": body} if op.name == "InvokeModel" else json.loads(body))}
        report = ParamValidator().validate(params, op.input_shape)
        assert not report.has_errors(), f"{report.generate_report()}\n{body.decode()}"
        known = set(op.input_shape.members)
        assert set(params) <= known, set(params) - known


def check_signatures():
    for x in EXCHANGED:
        given = x["Headers"]["authorization"]
        assert given.startswith("AWS4-HMAC-SHA256 Credential=" + os.environ["KEY_ID"] + "/"), given
        fields = dict(part.strip().split("=", 1) for part in given.split(" ", 1)[1].split(","))
        signed = fields["SignedHeaders"].split(";")
        assert "host" in signed and "x-amz-date" in signed, signed
        headers = {name: x["Host"] if name == "host" else x["Headers"][name] for name in signed}
        request = AWSRequest(x["Method"], f"http://{x['Host']}{x['URI']}", headers, base64.b64decode(x["Body"]))
        request.context["timestamp"] = x["Headers"]["x-amz-date"]
        auth = SigV4Auth(Credentials(os.environ["KEY_ID"], os.environ["SECRET"]), "bedrock", "eu-west-1")
        to_sign = auth.string_to_sign(request, auth.canonical_request(request))
        same(fields["Signature"], auth.signature(to_sign, request))


def check_answers():
    """The answers in the transcripts are such as botocore understands."""
    calls = 0
    for x in EXCHANGED:
        op, _ = operation(x)
        if x["Status"] != 200 or op.name == "InvokeModel":
            continue
        body = base64.b64decode(x["Answer"])
        if op.name == "Converse":
            parser = parsers.create_parser(MODEL.metadata["protocol"])
            got = parser.parse({"status_code": 200, "headers": {}, "body": body}, op.output_shape)
            content = got["output"]["message"]["content"]
            calls += sum("toolUse" in c for c in content)
            assert got["usage"]["inputTokens"] > 0, got
            continue
        buffer = eventstream.EventStreamBuffer()
        buffer.add_data(body)
        parser = parsers.EventStreamJSONParser()
        shape = op.output_shape.members["stream"]
        for event in buffer:
            got = parser.parse(event.to_response_dict(), shape)
            if event.headers[":message-type"] == "event":
                calls += "toolUse" in got.get("contentBlockStart", {}).get("start", {})
    assert calls >= 8, calls


run(globals())
