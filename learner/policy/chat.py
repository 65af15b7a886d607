"""What the policy reads: a prompt in its template, as token ids.

The template is `data.template`, or the chat template that belongs to the tokenizer: Jinja, in the
sandbox and with the settings of `transformers`, but without the clock, so that a prompt is the
same every day.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from configs.errors import InputError
from configs.schema import DataSection
from learner.policy.literal import apart
from learner.policy.tokenizer import Tokenizer

CHAT = "chat"
_PLACE = "\ue000prompt\ue000"  # of a private-use character, which no template writes


class Around(NamedTuple):
    """A template, cut where the prompt goes."""

    before: str
    after: str
    strips: bool = False  # does it take white space from the prompt's ends?


def prompt_ids(prompt: str, tokenizer: Tokenizer, data: DataSection) -> list[int]:
    """Ids of the templated prompt. Special tokens' names in the prompt itself stay text.

    Raises InputError when the tokenizer has no chat template and one is asked for, or a bad one.
    """
    around = template_around(tokenizer, data)
    text = prompt.strip() if around.strips else prompt
    pieces = apart(text, tokenizer.specials(around.before + around.after))
    pieces[0] = around.before + pieces[0]
    pieces[-1] = pieces[-1] + around.after
    return tokenizer.encode_prompt(*pieces, begin=data.template != CHAT)


def template_around(tokenizer: Tokenizer, data: DataSection) -> Around:
    if data.template != CHAT:
        before, _, after = data.template.partition("{prompt}")
        return Around(before, after)
    if not tokenizer.chat_template:
        raise InputError(
            "data.template = chat: the tokenizer brings no chat template; give the template as "
            "text with {prompt} in it"
        )
    names = (getattr(tokenizer, "bos_text", ""), getattr(tokenizer, "eos_text", ""))
    return _chat_around(tokenizer.chat_template, data.system, *names)


@lru_cache(maxsize=8)
def _chat_around(template: str, system: str, bos: str, eos: str) -> Around:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    try:
        compiled = environment.from_string(template)

        def rendered(content: str) -> str:
            user = {"role": "user", "content": content}
            values: dict[str, Any] = {
                "add_generation_prompt": True, "bos_token": bos, "eos_token": eos,
                "raise_exception": _refuse,
            }  # fmt: skip
            if not system:
                return compiled.render(messages=[user], **values)
            try:
                first = {"role": "system", "content": system}
                return compiled.render(messages=[first, user], **values)
            except jinja2.TemplateError:  # Gemma's has no such role: say it before the prompt
                user["content"] = f"{system}\n\n{content}"
                return compiled.render(messages=[user], **values)

        plain, spaced = rendered(_PLACE), rendered(f"{_PLACE} ")
    except jinja2.TemplateError as error:
        raise InputError(f"data.template = chat: the tokenizer's template: {error}") from error
    before, place, after = plain.partition(_PLACE)
    if not place or _PLACE in after:
        raise InputError("data.template = chat: the tokenizer's template does not show the prompt")
    return Around(before, after, strips=spaced == plain)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
