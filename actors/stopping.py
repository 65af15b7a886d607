"""What ends completions of a configuration: ids, texts, and the tag that closes reasoning."""

from functools import partial

from actors.rewards.format import TAGS
from configs.errors import InputError
from configs.schema import RunConfig
from learner.policy.endings import Endings
from learner.policy.tokenizer import Tokenizer, text_end

_CLOSE, _OPEN = TAGS[1], TAGS[2]


def endings_of(config: RunConfig, tokenizer: Tokenizer) -> Endings:
    """Raises InputError for a stop token that the tokenizer does not have, or when the tags that
    `eval.close_reasoning` writes leave nothing of the answer's budget."""
    section = config.rollout
    find = partial(text_end, tokenizer.decode)
    written: tuple[int, ...] = ()
    if config.eval.close_reasoning:
        written = tuple(tokenizer.encode_completion(_CLOSE + _OPEN)[:-1])
        if len(written) >= section.max_answer_tokens:
            raise InputError(
                f"eval.close_reasoning writes {_CLOSE}{_OPEN}, {len(written)} tokens, out of the "
                f"{section.max_answer_tokens} of rollout.max_answer_tokens: raise it"
            )
    return Endings(
        () if section.ignore_eos else tokenizer.stops(section.stop_tokens),
        partial(find, section.stop_strings) if section.stop_strings else None,
        partial(find, (_CLOSE,)),
        written,
    )
