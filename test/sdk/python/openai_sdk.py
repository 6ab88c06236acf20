"""OpenAI's SDK as the client, and providers of three schemas behind the gateway."""

import json
import os

import openai
from openai import OpenAI
from pydantic import BaseModel

from checks import raises, run, same

client = OpenAI(base_url=os.environ["FAIRWAY"] + "/v1", api_key="sk-client", max_retries=0, timeout=20)

# The models of the gateway, and how the transcripts of their providers begin.
PROVIDERS = {"gpt": "openai-openai", "claude": "openai-anthropic", "nova": "openai-bedrock"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def say(what):
    return [{"role": "user", "content": what}]


def check_text():
    for model in ("claude", "nova"):
        answer = client.chat.completions.create(model=model, messages=say(f"play:{PROVIDERS[model]}-text"))
        choice = answer.choices[0]
        assert choice.message.content and choice.message.tool_calls is None, answer
        same(choice.finish_reason, "stop")
        same(answer.object, "chat.completion")
        assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0, answer.usage
        same(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)


def check_parallel_tools():
    for model, name in PROVIDERS.items():
        answer = client.chat.completions.create(model=model, messages=say(f"play:{name}-tools"), tools=TOOLS)
        same(answer.choices[0].finish_reason, "tool_calls")
        calls = answer.choices[0].message.tool_calls
        same([c.function.name for c in calls], ["get_weather"] * 2)
        same([json.loads(c.function.arguments)["city"] for c in calls], ["Paris", "Bonn"])
        assert len({c.id for c in calls}) == 2, calls


def check_tool_results():
    """The turn after the calls, as clients write it."""
    calls = [
        {"id": f"call_{i}", "type": "function", "function": {"name": "get_weather", "arguments": json.dumps({"city": city})}}
        for i, city in enumerate(("Paris", "Bonn"))
    ]
    for model in ("claude", "nova"):
        answer = client.chat.completions.create(
            model=model,
            tools=TOOLS,
            messages=[
                *say("weather?"),
                {"role": "assistant", "content": None, "tool_calls": calls},
                *({"role": "tool", "tool_call_id": c["id"], "content": "sunny"} for c in calls),
                *say(f"play:{PROVIDERS[model]}-text"),
            ],
        )
        assert answer.choices[0].message.content, answer


def check_stream():
    for model, name in PROVIDERS.items():
        calls, text, finish, usage = {}, "", None, None
        stream = client.chat.completions.create(
            model=model, messages=say(f"play:{name}-tools-stream"), tools=TOOLS, stream=True,
            stream_options={"include_usage": True},
        )
        for chunk in stream:
            same(chunk.object, "chat.completion.chunk")
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
                for c in choice.delta.tool_calls or []:
                    got = calls.setdefault(c.index, {"id": c.id, "name": "", "arguments": ""})
                    got["name"] += c.function.name or ""
                    got["arguments"] += c.function.arguments or ""
        same([json.loads(c["arguments"])["city"] for _, c in sorted(calls.items())], ["Paris", "Bonn"])
        same({c["name"] for c in calls.values()}, {"get_weather"})
        same(finish, "tool_calls")
        assert usage and usage.completion_tokens > 0, usage


def check_stream_helper():
    for model in ("claude", "nova"):
        with client.chat.completions.stream(model=model, messages=say(f"play:{PROVIDERS[model]}-text-stream")) as stream:
            text = "".join(e.delta for e in stream if e.type == "content.delta")
            answer = stream.get_final_completion()
        same(answer.choices[0].message.content, text)
        assert text, answer


class Answer(BaseModel):
    colour: str


def check_structured_output():
    for model in ("claude", "nova"):
        answer = client.chat.completions.parse(
            model=model, messages=say(f"play:{PROVIDERS[model]}-schema"), response_format=Answer
        )
        same(answer.choices[0].message.parsed, Answer(colour="blue"))


def check_errors():
    kinds = {
        400: openai.BadRequestError,
        401: openai.AuthenticationError,
        404: openai.NotFoundError,
        429: openai.RateLimitError,
        500: openai.InternalServerError,
    }
    for model in PROVIDERS:
        for status, kind in kinds.items():
            e = raises(kind, lambda: client.chat.completions.create(model=model, messages=say(f"fail:{status}")), f"failed with {status}")
            same(e.status_code, status)
            assert e.body["message"] and "type" in e.body, e.body


def check_own_errors():
    e = raises(openai.NotFoundError, lambda: client.chat.completions.create(model="nobody", messages=say("x")))
    same(e.code, "model_not_found")
    e = raises(
        openai.UnprocessableEntityError,
        lambda: client.chat.completions.create(model="claude", messages=say("x"), logprobs=True),
    )
    same((e.code, e.param), ("unsupported_by_backend", "logprobs"))
    e = raises(openai.BadRequestError, lambda: client.chat.completions.create(model="claude", messages=[]))
    same(e.param, "messages")
    raises(openai.BadRequestError, lambda: client.post("/chat/completions", cast_to=object, content=b"{"))


def check_errors_inside_streams():
    for model, name in PROVIDERS.items():
        for end in ("streamerror", "cut"):
            def drain():
                for _ in client.chat.completions.create(model=model, messages=say(f"play:{name}-{end}"), stream=True):
                    pass
            raises(openai.APIError, drain)


def check_embeddings():
    # The SDK asks for base64 unless it is told otherwise.
    for options in ({}, {"encoding_format": "float"}):
        answer = client.embeddings.create(model="titan", input="play:turn-bedrock-embeddings-titan2", dimensions=256, **options)
        same(list(answer.data[0].embedding), [0.25, -0.5, 1.5])
        same(answer.usage.prompt_tokens, 5)
    answer = client.embeddings.create(model="gpt", input="play:pass-openai-embeddings", encoding_format="float")
    same(len(answer.data[0].embedding), 3)
    e = raises(openai.UnprocessableEntityError, lambda: client.embeddings.create(model="titan", input=["a", "b"]))
    same(e.param, "input")


def check_responses():
    answer = client.responses.create(model="gpt", input="play:pass-openai-responses")
    assert answer.output_text and answer.usage.output_tokens > 0, answer
    kinds = [e.type for e in client.responses.create(model="gpt", input="play:pass-openai-responses-stream", stream=True)]
    same(kinds[-1], "response.completed")
    raises(openai.UnprocessableEntityError, lambda: client.responses.create(model="claude", input="x"))


def check_models():
    same(sorted(m.id for m in client.models.list()), ["claude", "gpt", "hear", "nova", "titan"])


def check_transcription():
    """The last one: the test looks at the form that the provider got."""
    answer = client.audio.transcriptions.create(model="hear", file=("a.wav", b"RIFF\r\n--x"), prompt="play:form-openai-transcriptions")
    same(answer.text, "Hello.")


run(globals())
