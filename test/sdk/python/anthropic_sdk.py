"""Anthropic's SDK as the client, and providers of three schemas behind the gateway."""

import os

import anthropic
from anthropic import Anthropic

from checks import raises, run, same

client = Anthropic(base_url=os.environ["FAIRWAY"], api_key="sk-client", max_retries=0, timeout=20)

PROVIDERS = {"gpt": "anthropic-openai", "claude": "anthropic-anthropic", "nova": "anthropic-bedrock"}
TOOLS = [
    {
        "name": "get_weather",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]


def say(what):
    return [{"role": "user", "content": what}]


def check_text():
    for model in ("gpt", "nova"):
        answer = client.messages.create(model=model, max_tokens=50, messages=say(f"play:{PROVIDERS[model]}-text"))
        assert answer.content[0].type == "text" and answer.content[0].text, answer
        same((answer.type, answer.role, answer.stop_reason), ("message", "assistant", "end_turn"))
        assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, answer.usage


def cities(answer):
    return [b.input["city"] for b in answer.content if b.type == "tool_use" and b.name == "get_weather"]


def check_parallel_tools():
    for model, name in PROVIDERS.items():
        answer = client.messages.create(model=model, max_tokens=50, tools=TOOLS, messages=say(f"play:{name}-tools"))
        same(cities(answer), ["Paris", "Bonn"])
        same(answer.stop_reason, "tool_use")


def check_stream():
    for model, name in PROVIDERS.items():
        with client.messages.stream(model=model, max_tokens=50, tools=TOOLS, messages=say(f"play:{name}-tools-stream")) as stream:
            kinds = [e.type for e in stream]
            answer = stream.get_final_message()
        same((kinds[0], kinds[-1]), ("message_start", "message_stop"))
        same(cities(answer), ["Paris", "Bonn"])
        same(answer.stop_reason, "tool_use")
        assert answer.usage.output_tokens > 0, answer.usage


def check_tool_results():
    """The turn after the calls, as clients write it."""
    calls = [{"type": "tool_use", "id": f"toolu_{i}", "name": "get_weather", "input": {"city": c}} for i, c in enumerate(("Paris", "Bonn"))]
    results = [{"type": "tool_result", "tool_use_id": c["id"], "content": "sunny"} for c in calls]
    for model in ("gpt", "nova"):
        answer = client.messages.create(
            model=model, max_tokens=50, tools=TOOLS,
            messages=[
                *say("weather?"),
                {"role": "assistant", "content": calls},
                {"role": "user", "content": [*results, {"type": "text", "text": f"play:{PROVIDERS[model]}-text"}]},
            ],
        )
        assert answer.content[0].text, answer


def check_count_tokens():
    same(client.messages.count_tokens(model="claude", messages=say("play:pass-anthropic-count")).input_tokens > 0, True)
    raises(anthropic.UnprocessableEntityError, lambda: client.messages.count_tokens(model="gpt", messages=say("x")), "count_tokens")


def check_errors():
    kinds = {
        400: anthropic.BadRequestError,
        401: anthropic.AuthenticationError,
        404: anthropic.NotFoundError,
        429: anthropic.RateLimitError,
        500: anthropic.InternalServerError,
    }
    for model in PROVIDERS:
        for status, kind in kinds.items():
            e = raises(kind, lambda: client.messages.create(model=model, max_tokens=5, messages=say(f"fail:{status}")), f"failed with {status}")
            same((e.status_code, e.body["type"]), (status, "error"))
    raises(anthropic.NotFoundError, lambda: client.messages.create(model="nobody", max_tokens=5, messages=say("x")))
    raises(anthropic.BadRequestError, lambda: client.messages.create(model="gpt", max_tokens=5, messages=[]), "messages")


def check_errors_inside_streams():
    for model, name in PROVIDERS.items():
        for end in ("streamerror", "cut"):
            def drain():
                with client.messages.stream(model=model, max_tokens=5, messages=say(f"play:{name}-{end}")) as stream:
                    for _ in stream:
                        pass
            try:
                drain()
            except anthropic.APIStatusError as e:
                same(e.body["type"], "error")
            else:
                raise AssertionError(f"{name}-{end} raised nothing")


def check_models():
    same(sorted(m.id for m in client.models.list()), ["claude", "gpt", "hear", "nova", "titan"])


run(globals())
