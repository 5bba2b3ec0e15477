"""Texts that begin alike are read once: a row holds a tree of texts, and each sees what stands before it and no more.

Texts are sorted by their tokens, so that each shares its beginning with the one before it. A row is filled with what
is new in each; a token's position is its place in its own text, and a mask lets it see the tokens of that text alone.
So texts that share nothing are packed into one row without padding, and texts that share a prompt (labelled items under
one system text, the choices of a question) read it once. In exact arithmetic every loss is that of the text by itself.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steps.core.likelihood import MAX_NATS, Encoded, batches, summed_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROW_TOKENS = {"cpu": 512}  # of a row; wider ones ask more of attention than they save
WIDE_ROW_TOKENS = 4096  # where a device computes them at once
MASKED = ("sdpa", "eager")  # attention that takes any mask
PROBE = ((1, 2, 3, 4, 5, 6), (1, 2, 3, 6, 5), (2, 1, 4, 3))
EXACT_NATS = 1e-4  # per token, in float32, where another kernel rounds otherwise
ROUGH_NATS = 0.05  # in bfloat16, whose batches differ as much among themselves


Reading = tuple[list[int], list[int]]  # tokens of a text, and 1 where one counts; never the first


class Tree(NamedTuple):
    """One row of T tokens: texts by their places in the list that they came from, and the path of each in the row."""

    ids: list[int]
    positions: list[int]
    texts: list[int]
    paths: list[list[int]]


def trees(texts: Sequence[Sequence[int]], row_tokens: int) -> Iterator[Tree]:
    """Rows of at most `row_tokens` tokens, or of twice the text that begins a row; every text once.

    Rows are filled in the order of the tokens and never looked at again: without the texts of the first rows, the
    others are the same.
    """
    row, limit = Tree([], [], [], []), 0
    before: Sequence[int] = ()
    for place in sorted(range(len(texts)), key=lambda place: (list(texts[place]), place)):
        ids = texts[place]
        shared = _shared(before, ids) if row.texts else 0
        if row.texts and len(row.ids) + len(ids) - shared > limit:
            yield row
            row, shared = Tree([], [], [], []), 0
        if not row.texts:
            limit = max(row_tokens, 2 * len(ids))
        new = range(len(row.ids), len(row.ids) + len(ids) - shared)
        path = [*(row.paths[-1][:shared] if row.paths else []), *new]
        row.ids.extend(ids[shared:])
        row.positions.extend(range(shared, len(ids)))
        row.texts.append(place)
        row.paths.append(path)
        before = ids
    if row.texts:
        yield row


def _shared(before: Sequence[int], ids: Sequence[int]) -> int:
    """How many first tokens two texts have in common; the last one of a text is always its own."""
    most = min(len(before), len(ids) - 1)
    return next((place for place in range(most) if before[place] != ids[place]), most)


class Answer(NamedTuple):
    """What a network makes of a text: its loss, summed over what counts, and whether it would have said just that."""

    nats: float
    greedy: bool


def tree_answers(network: "PreTrainedModel", rows: Sequence[Reading], tree: Tree) -> list[Answer]:
    """The answer on each of the tree's texts; `rows`: what the network reads of every text, and 1 where that counts."""
    import torch

    size, device = len(tree.ids), network.device
    sees_TT = torch.zeros(size, size, dtype=torch.bool)
    for path in tree.paths:
        along = torch.tensor(path)
        sees_TT[along[:, None], along[None, :]] |= along[:, None] >= along[None, :]
    mask_TT = torch.full((size, size), torch.finfo(network.dtype).min, dtype=network.dtype).masked_fill_(sees_TT, 0.0)
    asked = [
        (path[place - 1], rows[text][0][place], number)
        for number, (text, path) in enumerate(zip(tree.texts, tree.paths, strict=True))
        for place, counts in enumerate(rows[text][1])
        if counts
    ]
    from_N, wanted_N, text_N = (torch.tensor(column, device=device) for column in zip(*asked, strict=True))
    at_P, which_N = torch.unique(from_N, return_inverse=True)
    with torch.no_grad():
        output = network(
            input_ids=torch.tensor([tree.ids], device=device),
            position_ids=torch.tensor([tree.positions], device=device),
            attention_mask=mask_TT[None, None].to(device),
            use_cache=False,
            logits_to_keep=at_P,
        )
        logits_PV = output.logits[0].float()
        loss_N = torch.logsumexp(logits_PV, dim=-1)[which_N] - logits_PV[which_N, wanted_N]
        other_N = (logits_PV.argmax(dim=-1)[which_N] != wanted_N).double()
    capped_N = loss_N.double().nan_to_num(nan=MAX_NATS, posinf=MAX_NATS).clamp(0.0, MAX_NATS)
    nats_B, others_B = (
        torch.zeros(len(tree.texts), dtype=torch.float64, device=device).index_add_(0, text_N, each_N).tolist()
        for each_N in (capped_N, other_N)
    )
    return [Answer(nats, others == 0) for nats, others in zip(nats_B, others_B, strict=True)]


def tree_losses(network: "PreTrainedModel", rows: Sequence[Reading], tree: Tree) -> list[float]:
    """The loss in nats of each of the tree's texts, summed over what counts."""
    return [answer.nats for answer in tree_answers(network, rows, tree)]


def answers(network: "PreTrainedModel", rows: Sequence[Reading]) -> Iterator[tuple[int, Answer]]:
    """The place of every text, and the answer on it, row by row."""
    width = ROW_TOKENS.get(network.device.type, WIDE_ROW_TOKENS)
    for tree in trees([ids for ids, _ in rows], width):
        yield from zip(tree.texts, tree_answers(network, rows, tree), strict=True)


def reads_trees(network: "PreTrainedModel") -> bool:
    """Whether a network reads texts in a tree as it reads each by itself: asked, not believed.

    Attention that takes no mask of ours, a window over positions of the row, and states that run through it do not;
    what a network cannot even be asked it does not read.
    """
    import torch

    config = network.config.get_text_config()
    if getattr(config, "sliding_window", None) or config._attn_implementation not in MASKED:
        return False
    texts = [
        Encoded(name=str(place), tokens=ids, num_bytes=1, carries=(False, *[True] * (len(ids) - 1)))
        for place, ids in enumerate(PROBE)
    ]
    alone = [loss for text in texts for loss in summed_losses(network, [text], 0)]
    rows = [text.row(0) for text in texts]
    (tree,) = trees([ids for ids, _ in rows], ROW_TOKENS["cpu"])
    try:
        together = dict(zip(tree.texts, tree_losses(network, rows, tree), strict=True))
    except (IndexError, RuntimeError, TypeError, ValueError):  # it makes its own mask or positions of what it is given
        return False
    worst = max(abs(alone[place] - loss) / texts[place].num_losses for place, loss in together.items())
    return worst <= (EXACT_NATS if network.dtype == torch.float32 else ROUGH_NATS)


def losses_by_part(
    network: "PreTrainedModel", texts: Sequence[Encoded], context: int, batch_items: int
) -> Iterator[tuple[list[Encoded], list[float]]]:
    """The loss of every text in nats, part by part: labelled ones in trees where the network reads these, the others,
    which share nothing, in batches.

    Without the texts of the first parts, the others are the same.
    """
    labelled = [text for text in texts if text.carries is not None]
    if not labelled or not reads_trees(network):
        labelled = []
    rows = [text.row(context) for text in labelled]
    for tree in trees([ids for ids, _ in rows], ROW_TOKENS.get(network.device.type, WIDE_ROW_TOKENS)):
        yield [labelled[place] for place in tree.texts], tree_losses(network, rows, tree)
    others = [text for text in texts if not labelled or text.carries is None]
    for batch in batches(others, batch_items):
        yield batch, summed_losses(network, batch, context)
