"""The episodes that few-shot protocols judge: so many of each domain, and what a learner may see of one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from frisket.algos.learner import Learner
from frisket.envs.episode_stream import EpisodeStream
from frisket.platform.protocols.protocol import shown
from frisket.types import Batch, Data, Split


def episodes(stream: EpisodeStream, split: Split, count: int) -> Iterator[tuple[int, Batch]]:
    """The first ``count`` episodes of every domain of ``stream``, from number 0 on, each with its place when the
    domains take turns: of N domains, episode i of the domain d has i N + d."""
    domains, had = stream.domains, [0] * len(stream.domains)
    for number in itertools.count():
        if min(had) == count:
            return
        episode = stream.episode(split, number)
        domain = 0 if len(domains) == 1 or episode.task is None else domains.index(episode.task.domain)
        if had[domain] < count:
            yield had[domain] * len(domains) + domain, episode
            had[domain] += 1


def support_and_queries(
    learner: Learner, stream: EpisodeStream, whole: Batch, device: torch.device
) -> tuple[Batch, Data]:
    """What ``learner`` is to adapt to of the episode ``whole`` of ``stream``, and the queries, on ``device``; a learner
    that does not need the task does not see it."""
    episode = shown(learner, whole)
    x, y, n = stream.numbers(episode.x.to(device)), episode.y.to(device), episode.support
    return Batch(x[:n], y[:n], episode.position, episode.task), Data(x[n:], y[n:])
