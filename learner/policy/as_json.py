"""A SentencePiece byte-pair model as a `tokenizer.json`, which gives the same ids."""

from pathlib import Path
from typing import Any

import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, decoders, models, normalizers, processors

from configs.run_folder import write_json, write_text
from configs.schema import DataSection
from learner.policy.sentence_pieces import SentencePieceTokenizer

protocol: Any = sentencepiece_model_pb2  # its classes are made at import
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4  # kinds of pieces


def save_as_json(tokenizer: SentencePieceTokenizer, data: DataSection, folder: Path) -> bool:
    """Write tokenizer.json and tokenizer_config.json; False, and nothing, for no byte-pair model.

    The chat template there puts the last message where `data.template` has its prompt.
    """
    proto = protocol.ModelProto()
    proto.ParseFromString(tokenizer.model)
    plain = not proto.normalizer_spec.add_dummy_prefix
    if proto.trainer_spec.model_type != protocol.TrainerSpec.BPE or not plain:
        return False
    before, _, after = data.template.partition("{prompt}")
    core = _core(proto, tokenizer, tokenizer.specials(data.template))
    write_text(folder / "tokenizer.json", core.to_str(pretty=True))
    names = {"bos": tokenizer.bos, "eos": tokenizer.eos, "pad": tokenizer.pad}
    config = {
        f"{name}_token": proto.pieces[number].piece
        for name, number in names.items()
        if number is not None
    }
    shown = f"bos_token + {before!r} + messages[-1]['content'] + {after!r}"
    write_json(
        folder / "tokenizer_config.json",
        config
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "chat_template": "{{ " + shown + " }}",
        },
    )
    return True


def _core(
    proto, tokenizer: SentencePieceTokenizer, structure: tuple[str, ...]
) -> tokenizers.Tokenizer:
    pieces = [piece.piece for piece in proto.pieces]
    unknown = next(piece.piece for piece in proto.pieces if piece.type == _UNKNOWN)
    core = tokenizers.Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate(pieces)},
            merges=_merges(proto),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    core.normalizer = normalizers.Replace(" ", "▁")
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    for piece in proto.pieces:  # in their order: each keeps its id
        if piece.type == _CONTROL:
            core.add_special_tokens([AddedToken(piece.piece, special=True, normalized=False)])
        elif piece.type == _USER_DEFINED:
            special = piece.piece in structure
            core.add_tokens([AddedToken(piece.piece, special=special, normalized=not special)])
    if tokenizer.bos is not None:
        first = pieces[tokenizer.bos]
        core.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, tokenizer.bos)]
        )
    return core


def _merges(proto) -> list[tuple[str, str]]:
    """Each way to make a piece of two others, the pieces by their score."""
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == _NORMAL}
    merges = []
    for piece in sorted(scores, key=lambda piece: -scores[piece]):
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        merges += [pair for pair in halves if pair[0] in scores and pair[1] in scores]
    return merges
