"""What a sweep would do, without doing it: networks, stages, splits and an estimate of its time."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from search.run.estimate import count_stages, distinct_stages, estimate_seconds
from search.space.preset import Preset, load
from search.space.space import Space, configure, fits
from sermodels.config.parsing import dump_yaml
from sermodels.config.settings import ChainConfig
from sermodels.errors import UserError
from sermodels.evaluation.evaluate import sides
from sermodels.networks.cost import costs
from sermodels.store.open import Store, open_store
from sermodels.store.splits import FIXED, split

SMALL = 100  # configurations up to which a space is shown whole


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep whose input has been checked: nothing that a person could have got wrong is left to find."""

    store: Store
    address: str | None = None  # that the store was fetched from; None: every node finds it at its path
    preset: Preset
    space: Space  # only what fits the store's images

    def configurations(self) -> list[ChainConfig]:
        """All configurations of a small space, else those at its corners."""
        small = (size := self.space.size()) is not None and size <= SMALL
        params = self.space.grid() if small else self.space.corners()
        return [configure(self.preset.chain, p) for p in params]

    def fresh_seeds(self) -> tuple[int, ...]:
        """Seeds that no trial uses, as many as a trial has: for the confirmation of the best."""
        used = [config.seeds for config in self.configurations()]
        fresh = max(map(max, used)) + 1
        return tuple(range(fresh, fresh + max(map(len, used))))

    def device(self) -> str:
        """Where a trial trains."""
        return "cuda" if self.preset.gpus else "cpu"

    def threads(self) -> int:
        """Of a trial on the CPU: the cores given to it."""
        return max(1, int(self.preset.cpus))


def make_plan(store: Path, preset: str, overrides: Iterable[str] = (), address: str | None = None) -> Plan:
    """Check a sweep's input as far as it can be checked beforehand.

    Args:
        store: file of the spectrogram store; its images are verified.
        preset: name of a built-in preset or path of a YAML file.
        overrides: `key=value` words.
        address: that the store was fetched from, and other nodes fetch it from; None: they find it at the same path.

    Raises:
        UserError: anything wrong with the store or preset, or a fold that the store does not have.
    """
    loaded = load(preset, tuple(overrides))
    opened = open_store(store)
    opened.verify()
    space = loaded.parse_space().feasible(opened.pixels.shape[1:])
    plan = Plan(store=opened, address=address, preset=loaded, space=space)
    for config in plan.configurations():
        if not fits(config.patch, opened.pixels.shape[1:]):
            size = "×".join(map(str, opened.pixels.shape[1:]))
            raise UserError(
                f"preset {preset}: patch {config.patch} does not divide the images of {size} pixels in {store}"
            )
        if config.protocol in FIXED and config.protocol != "paper":
            raise UserError(
                f"preset {preset}: protocol {config.protocol!r} is for a fixed configuration: a search would choose on "
                "its test set; use speaker or utterance, and jobs/train.py for this one"
            )
        if config.all_data:
            raise UserError(
                f"preset {preset}: all_data is for the last training of a configuration that has been chosen, by "
                "jobs/train.py --all-data: a search would choose on clips that were trained on"
            )
        for fold in config.folds:
            if not len(split(opened, config.protocol, fold, config.split_seed).train):
                raise UserError(f"fold {fold} of protocol {config.protocol!r} has no training rows in {store}")
    return plan


def describe(plan: Plan) -> str:
    """The dry run, for a person."""
    configs = plan.configurations()
    return "\n".join([
        *_space_lines(plan),
        "",
        "an example configuration:",
        dump_yaml(configs[0]).rstrip(),
        "",
        *_network_lines(plan, configs),
        "",
        *_stage_lines(plan, configs),
        "",
        *_split_lines(plan.store, configs[0]),
    ])  # fmt: skip


def _space_lines(plan: Plan) -> list[str]:
    size = plan.space.size()
    count = "infinitely many" if size is None else size
    lines = [f"{plan.preset.description.strip()}", ""]
    lines += [f"space: {count} configurations, {plan.preset.trials} trials by {plan.preset.sampler}"]
    lines += [f"  {name}: {axis}" for name, axis in plan.preset.space.items()]
    return lines + [f"  left out: {reason}" for reason in plan.space.left_out]


def _network_lines(plan: Plan, configs: list[ChainConfig]) -> list[str]:
    """One line a distinct network."""
    image, classes = plan.store.pixels.shape[1:], len(plan.store.emotions)
    lines: dict[str, str] = {}
    for config in configs:
        figures = costs(config, image, classes)
        for stage in ("teacher", "student"):
            network = config.teacher if stage == "teacher" else config.student
            what = f"{stage} {config.patch} depth {network.depth} heads {network.heads} size {config.dim}"
            what += f" {config.encoding}" if stage == "teacher" else ""
            size = f"{figures[f'{stage}/parameters']:,} parameters, {figures[f'{stage}/macs'] / 1e6:,.0f} MMAC a clip"
            lines[what] = f"  {what}: {size}"
    return ["networks:", *sorted(lines.values())]


def _stage_lines(plan: Plan, configs: list[ChainConfig]) -> list[str]:
    lanes, device = len(configs[0].lanes), plan.device() if torch.cuda.is_available() else "cpu"
    counts = count_stages(distinct_stages(configs, plan.store.fingerprint))
    held = f"{counts['teacher']} teachers, {counts['match']} matches, {counts['student']} students"
    whole = "in all" if (plan.space.size() or SMALL + 1) <= SMALL else "at the corners of the space"
    hours = estimate_seconds(plan.store, configs, device, plan.threads()) / 3600
    elsewhere = " (no GPU here: on one it is a fraction)" if device != plan.device() else ""
    time = f"{60 * hours:.0f} minutes" if hours < 3 else f"{hours:.0f} hours"
    return [
        f"distinct stages {whole}: {held}; each in {lanes} lanes (folds × seeds)",
        f"training each of these once: about {time} of one process on this machine's {device}{elsewhere}",
    ]


def _split_lines(store: Store, config: ChainConfig) -> list[str]:
    lines = [f"protocol {config.protocol}, split seed {config.split_seed}:"]
    for fold, of_fold in sides(store, config).items():
        for side, found in of_fold.items():
            who = f"speakers {', '.join(found['speakers'])}"
            lines.append(f"  {fold} {side}: {found['rows']} rows of {found['clips']} clips, {who}")
    return lines
