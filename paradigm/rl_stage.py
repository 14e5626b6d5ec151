"""The options of an RL stage: which objective, which advantages, what is averaged over, and which combinations make no sense.

An algorithm is a surrogate with constants, advantages and an average. `objective` names it and brings the constants of its paper (`PAPERS`), each
of which a recipe may change:

    reinforce      log-prob x advantage                         Williams, 1992
    rloo           the same, leave-one-out baseline             arXiv:2402.14740
    reinforce++    clipped ratio, batch-normalised returns      arXiv:2501.03262
    ppo            clipped ratio                                arXiv:1707.06347
    grpo           clipped ratio, group advantages              arXiv:2402.03300
    dr_grpo        without its two divisions                    arXiv:2503.20783
    dapo           clip-higher, dynamic sampling, overlong      arXiv:2503.14476
    gspo           clipped ratio of the sequence                arXiv:2507.18071
    cispo          truncated weights x log-prob                 arXiv:2506.13585
    icepop         masked weights x log-prob                    arXiv:2510.18855
    scalerl        CISPO over prompts, batch-normalised         arXiv:2510.13786
    vtrace, upgo, alphastar (both, with TD(lambda))             arXiv:1802.01561; Vinyals et al., 2019
    ppg            ppo, and an auxiliary phase for values       arXiv:2009.04416
    dpo            the best and the worst of each group         arXiv:2305.18290, 2402.04792
    distillation   the divergence from a teacher                arXiv:2306.13649
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

from paradigm.actor_critic import ActorCritic
from paradigm.importance import ImportanceCorrection
from paradigm.kind_objective import KindObjective, Name
from paradigm.kl import Divergence, KLPenalty
from paradigm.objective import CISPO, Combined, MaskedReinforce, PPOClip, Reinforce
from paradigm.objective_rows import Objective, SequenceObjective
from paradigm.preference import DPO
from paradigm.sequence_objective import GSPO
from paradigm.stage import Stage

PAPERS: dict[str, dict[str, Any]] = {
    "reinforce": {},
    "rloo": {"advantage": "leave_one_out", "average": "sums", "kl": 0.05, "kl_in": "reward", "kl_estimator": "k1"},
    "reinforce++": {"advantage": "batch", "kl": 0.01, "kl_in": "reward", "kl_estimator": "k1"},
    "ppo": {},
    "grpo": {"normalize": "std", "average": "trajectories", "kl": 0.04},
    "dr_grpo": {"average": "constant"},
    "dapo": {"normalize": "std", "clip_high": 0.28, "drop_uninformative": True, "overlong_share": 0.2},
    "gspo": {"normalize": "std", "average": "trajectories", "clip_low": 3e-4, "clip_high": 4e-4},
    "cispo": {"normalize": "std"},
    "icepop": {"normalize": "std", "min_ratio": 0.5},
    "scalerl": {"normalize": "batch", "average": "groups", "drop_uninformative": True, "drop_solved": 0.9},
    "vtrace": {"advantage": "none", "lam": 1.0},
    "upgo": {"advantage": "none", "lam": 1.0},
    "alphastar": {"advantage": "none", "lam": 0.8},
    "ppg": {"advantage": "gae", "auxiliary_every": 32},
    "dpo": {"advantage": "none"},
    "distillation": {"advantage": "none", "group_size": 1},
}
"""The options in which an objective's paper differs from the class's own defaults."""

CLIPPED = ("reinforce++", "ppo", "grpo", "dr_grpo", "dapo", "ppg")
WEIGHTED = ("cispo", "icepop", "scalerl")
ACTOR_CRITIC = ("vtrace", "upgo", "alphastar")
TWO_PASS = ("gspo", "dpo", *ACTOR_CRITIC)
CORRECTED = ("reinforce", "rloo", "gspo", *CLIPPED)  # what takes an importance correction


@dataclass(frozen=True, kw_only=True)
class RL(Stage):
    """Policy gradient on the policy's own rollouts; the only signal is the verifier's verdict (or a teacher, with objective "distillation").

    A recipe says what differs from the objective's paper; in Python `RL.of("dapo", name="rl")` does the same, while the class alone has the
    defaults below.

    steps: rounds of rollouts, tasks_per_step x group_size each. objective: see the module. updates_per_step: passes over the same rollouts.
    advantage: "group" compares a whole rollout with the others of its task (and seat); "leave_one_out" leaves the rollout itself out of that
    baseline; "batch" takes what each token earned from there on, normalised over all tokens; "gae" learns a value head and credits each
    decision with how far the value rose after it, its targets those of TD(lam), lam = 1 being REINFORCE with a learned baseline; "none" for
    objectives that make their own. gamma, lam: discount and trace decay of "gae" and of the actor-critics. value_coefficient: of the value loss.
    bootstrap_truncated: a rollout that was cut short, at max_tokens or by its environment, goes on being worth the value at its end;
    else it earns no more, as where the limit is part of the task (Pardo et al., arXiv:1712.00378).
    normalize: what a group's advantages are divided by, "std" of the group, "batch" of all, or "none".
    average: of the loss, over all "tokens"; over "trajectories" or "groups", each counting the same; "sums", over trajectories of the sum of their
    tokens; "constant", that over max_tokens.
    clip_low, clip_high: of the ratio. min_ratio, max_ratio: bounds of the weights of "cispo", "scalerl" and "icepop".
    correction: importance correction for what the sampler's log-probs differ from the learner's, see `importance`.
    max_lag: rollouts are drawn while the update runs, with the weights of this many steps before, see `collector`; 0 draws them in turn, with the
    newest. Such rollouts must be corrected for: a recipe that does not say how gets the default, weights by token cut at 2 (by sequence for "gspo"),
    where the objective has no weights of its own. On a CPU both share the cores, and little is gained.
    entropy: coefficient of the entropy bonus.
    kl: coefficient of a penalty for leaving the policy that the stage started from, in the "loss" or in the "reward" (kl_in); kl_estimator: "k1",
    "k2", "k3", or "full", the sum over the vocabulary; kl_direction: "reverse" is KL(policy || reference); kl_schedule: how it decays over the steps.
    drop_uninformative: leave out groups whose rewards are all equal. drop_solved: never attempt again a task solved at this rate; 0 keeps all.
    overlong_share: a rollout in the last share of max_tokens is punished, up to -1 at max_tokens; 0 punishes none.
    auxiliary_every, auxiliary_epochs, auxiliary_kl: PPG's phase after so many steps (0: none), its passes, and the weight of staying.
    share_prompts: a group's prompt goes through the update once for all its rollouts, which saves work where prompts are long.
    reward_of: in a world of kind "preferences", what scores the rollouts: an earlier reward stage, or a folder with a reward model.
    beta: DPO's. teacher: for "distillation", the earlier stage whose policy teaches.
    kinds: for kinds of a mixture, by name, what differs there, see `KindObjective`; their rollouts are normalised and averaged apart, and weigh
    in the update by their share of all rollouts.
    pretrain: coefficient of cross entropy on pretrain_tokens a step of the documents of the stage pretrain_of; 0 mixes none in.
    temperature: of sampling. max_tokens: the longest trajectory.
    forced_errors: the share of each step's tasks whose rollouts each get one wrong token forced into their work, as `evaluation.falsify` draws
    it, and are compared among themselves; the policy goes on from its mistake and is judged as ever. It costs a rollout more for each, which
    FLOPs and seconds count.
    """

    kind: ClassVar[str] = "rl"
    steps: int = 50
    tasks_per_step: int = 64
    group_size: int = 8
    objective: Name = "ppo"
    advantage: Literal["group", "leave_one_out", "batch", "gae", "none"] = "group"
    gamma: float = 1.0
    lam: float = 0.95
    value_coefficient: float = 0.5
    bootstrap_truncated: bool = False
    entropy: float = 0.0
    normalize: Literal["std", "batch", "none"] = "none"
    average: Literal["tokens", "trajectories", "groups", "sums", "constant"] = "tokens"
    clip_low: float = 0.2
    clip_high: float = 0.2
    min_ratio: float = 0.0
    max_ratio: float = 5.0
    correction: ImportanceCorrection | None = None
    max_lag: int = 0
    kl: float = 0.0
    kl_in: Literal["loss", "reward"] = "loss"
    kl_estimator: Literal["k1", "k2", "k3", "full"] = "k3"
    kl_direction: Literal["reverse", "forward"] = "reverse"
    kl_schedule: Literal["constant", "linear", "cosine"] = "constant"
    drop_uninformative: bool = False
    drop_solved: float = 0.0
    overlong_share: float = 0.0
    auxiliary_every: int = 0
    auxiliary_epochs: int = 6
    auxiliary_kl: float = 1.0
    share_prompts: bool = False
    reward_of: str = ""
    beta: float = 0.1
    teacher: str = ""
    kinds: dict[str, KindObjective] = field(default_factory=dict)
    pretrain: float = 0.0
    pretrain_of: str = ""
    pretrain_tokens: int = 8192
    updates_per_step: int = 1
    temperature: float = 1.0
    max_tokens: int = 256
    forced_errors: float = 0.0
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "constant"

    @classmethod
    def defaults(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        objective = values.get("objective", "ppo")
        if objective not in PAPERS:
            near = difflib.get_close_matches(str(objective), PAPERS, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"objective must be one of {', '.join(PAPERS)}, got {objective!r}{hint}")
        defaults = dict(PAPERS[objective])
        if values.get("max_lag") and objective in CORRECTED:
            defaults["correction"] = ImportanceCorrection(level="sequence" if objective == "gspo" else "token")
        return defaults

    @classmethod
    def of(cls, objective: Name, **options: Any) -> RL:
        """A stage with the constants of the objective's paper, but for `options`."""
        return cls(**{**cls.defaults({**options, "objective": objective}), "objective": objective, **options})

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_ranges()
        self._check_advantages()
        self._check_penalties()
        self.build_objective()  # which refuses constants out of its range
        if self.kinds and (self.auxiliary_every or self.objective == "distillation"):
            what = "auxiliary_every" if self.auxiliary_every else "objective 'distillation'"
            raise ValueError(f"kinds must be left out with {what}, which all rollouts share, got {', '.join(self.kinds)}")
        for name in self.kinds:
            try:
                self.of_kind(name)
            except ValueError as error:
                raise ValueError(f"kinds.{name}: {error}") from error

    def of_kind(self, name: str) -> RL:
        """The stage as rollouts of a kind see it: what the kind says, else its own objective's paper, else the stage."""
        own = self.kinds.get(name)
        if own is None:
            return self
        rows = [f.name for f in fields(KindObjective)]
        given = {row: getattr(own, row) for row in rows if getattr(own, row) is not None}
        if own.objective is not None:
            defaults = {f.name: f.default for f in fields(RL) if f.name in rows} | PAPERS[own.objective]
            given = {row: value for row, value in defaults.items() if row in rows} | given
            if self.max_lag:
                given["correction"] = self.defaults({"objective": own.objective, "max_lag": self.max_lag}).get("correction")
        return replace(self, kinds={}, **given)

    def _check_ranges(self) -> None:
        for name in ("steps", "tasks_per_step", "group_size", "updates_per_step", "auxiliary_epochs", "pretrain_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("lam", "gamma", "drop_solved", "forced_errors"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("value_coefficient", "entropy", "kl", "auxiliary_every", "auxiliary_kl", "pretrain", "max_lag"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        if not 0 <= self.overlong_share < 1:
            raise ValueError(f"overlong_share must be in [0, 1), got {self.overlong_share}")
        if (self.objective == "distillation") != bool(self.teacher):
            raise ValueError(f"teacher must name a stage with objective 'distillation' and no other, got {self.teacher!r} with {self.objective!r}")
        if self.share_prompts and self.objective == "dpo":
            raise ValueError("share_prompts must be false with objective 'dpo', whose pairs lie apart, got true")
        if bool(self.pretrain) != bool(self.pretrain_of):
            raise ValueError(f"pretrain_of must name a stage where pretrain > 0 and only there, got {self.pretrain_of!r} with {self.pretrain}")

    def _check_advantages(self) -> None:
        objective, advantage = self.objective, self.advantage
        compares = advantage in ("group", "leave_one_out")
        if self.group_size < 2 and (compares or objective == "dpo"):
            what = "pairs come from the group" if objective == "dpo" else "the group is the baseline"
            raise ValueError(f"group_size must be >= 2, since {what}, got {self.group_size}")
        makes_own = objective in ("dpo", "distillation", *ACTOR_CRITIC)
        if makes_own != (advantage == "none"):
            rule = "must be 'none'" if makes_own else "must not be 'none'"
            raise ValueError(f"advantage {rule} with objective {objective!r}, got {advantage!r}")
        if objective == "gspo" and not compares:
            raise ValueError(f"advantage must be one number a rollout with objective 'gspo', whose ratio is the sequence's, got {advantage!r}")
        if self.normalize != "none" and not compares:
            raise ValueError(f"normalize must be 'none' with advantage {advantage!r}, which has no group, got {self.normalize!r}")
        if self.drop_uninformative and not compares:
            raise ValueError(f"drop_uninformative must be false with advantage {advantage!r}, which learns from equal rewards too, got true")
        if self.bootstrap_truncated and advantage != "gae" and objective not in ACTOR_CRITIC:
            raise ValueError(f"bootstrap_truncated must be false with advantage {advantage!r}, which has no value head, got true")
        if self.auxiliary_every and advantage != "gae":
            raise ValueError(f"auxiliary_every must be 0 with advantage {advantage!r}, which leaves no value targets, got {self.auxiliary_every}")
        if self.max_lag >= self.steps:
            raise ValueError(f"max_lag must be less than the {self.steps} steps, got {self.max_lag}")
        if self.max_lag and objective == "distillation":
            raise ValueError(f"max_lag must be 0 with objective 'distillation', which learns where the policy is now, got {self.max_lag}")
        if self.max_lag and self.correction is None and objective in CORRECTED:
            raise ValueError(f"correction must be given with max_lag > 0 and objective {objective!r}, whose rollouts older weights drew, got None")
        if self.correction is not None:
            if objective == "gspo" and self.correction.level == "token":
                raise ValueError("correction.level must be 'sequence' with objective 'gspo', whose ratio is the sequence's, got 'token'")
            if objective in (*WEIGHTED, *ACTOR_CRITIC):
                raise ValueError(f"correction must be absent with objective {objective!r}, whose own weights correct, got {self.correction}")
            if makes_own:
                raise ValueError(f"correction must be absent with objective {objective!r}, which has no ratio, got {self.correction}")

    def _check_penalties(self) -> None:
        objective = self.objective
        if self.entropy and objective in ("dpo", "distillation"):
            raise ValueError(f"entropy must be 0 with objective {objective!r}, got {self.entropy}")
        if self.overlong_share and objective == "distillation":
            raise ValueError(f"overlong_share must be 0 with objective 'distillation', which reads no rewards, got {self.overlong_share}")
        if not self.kl:
            return
        if objective in ("dpo", "distillation"):
            own = "whose beta is its own" if objective == "dpo" else "which is a divergence itself"
            raise ValueError(f"kl must be 0 with objective {objective!r}, {own}, got {self.kl}")
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError("kl_estimator must be 'k2', 'k3' or 'full' in the loss, where k1's gradient averages to 0, got 'k1'")
        if self.kl_in == "reward" and self.kl_estimator == "full":
            raise ValueError("kl_estimator must be 'k1', 'k2' or 'k3' in the reward, got 'full'")
        if self.kl_direction == "forward" and self.kl_estimator != "full":
            raise ValueError(f"kl_estimator must be 'full' for the forward direction, since the policy drew the tokens, got {self.kl_estimator!r}")
        if self.kl_in == "loss" and objective in TWO_PASS:
            raise ValueError(f"kl_in must be 'reward' with objective {objective!r}, which takes two passes, got 'loss'")

    @property
    def trains_value(self) -> bool:
        """Whether the policy needs a value head."""
        return any(s.advantage == "gae" or s.objective in ACTOR_CRITIC for s in (self, *map(self.of_kind, self.kinds)))

    @property
    def needs_reference(self) -> bool:
        """Whether the policy that the stage starts from is kept beside it."""
        return any(s.kl > 0 or s.objective == "dpo" for s in (self, *map(self.of_kind, self.kinds)))

    def build_objective(self) -> Objective | SequenceObjective:
        """What the rollouts' rows are weighed by."""
        entropy, ratios = self.entropy > 0, {"min_ratio": self.min_ratio, "max_ratio": self.max_ratio}
        name = self.objective
        if name == "gspo":
            return GSPO(clip_low=self.clip_low, clip_high=self.clip_high, entropy=entropy)
        if name == "dpo":
            return DPO(beta=self.beta)
        if name == "distillation":
            return Divergence()
        if name in ACTOR_CRITIC:
            both = name == "alphastar"
            return ActorCritic(
                advantages=("vtrace", "upgo") if both else (name,), value_target="td_lambda" if both else "vtrace",  # type: ignore[arg-type]
                gamma=self.gamma, lam=self.lam, entropy=entropy,
            )  # fmt: skip
        surrogate: Objective
        if name in CLIPPED:
            surrogate = PPOClip(clip_low=self.clip_low, clip_high=self.clip_high, entropy=entropy)
        elif name in WEIGHTED:
            surrogate = (MaskedReinforce if name == "icepop" else CISPO)(**ratios, entropy=entropy)
        else:
            surrogate = Reinforce(entropy=entropy)
        if not self.kl or self.kl_in == "reward":
            return surrogate
        return Combined(objectives=(surrogate, Divergence() if self.kl_estimator == "full" else KLPenalty(estimator=self.kl_estimator)))
