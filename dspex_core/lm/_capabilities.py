import re
from dataclasses import dataclass, replace

from dspex_core import events
from dspex_core.errors import LMContextLengthError, LMRequestError
from dspex_core.lm._presets import preset_of
from dspex_core.seam import LMConfig, LMRequest

_OPENAI_REASONING = re.compile(r"o\d(-|$)|gpt-5(?!.*chat)|gpt-[6-9](?!.*chat)|codex-mini")
_ANTHROPIC = re.compile(r"claude-")
_ANTHROPIC_SAMPLED = re.compile(r"claude-(\d|instant|[a-z]+-4(-[0-6])?(-\d{8}|-latest|@\d+)?$)")
_REFUSED_SAMPLING = re.compile(
    r"(temperature|max_tokens)\W.{0,60}(not support|unsupported|deprecated)|"
    r"(not support|unsupported|deprecated).{0,60}(temperature|max_tokens)\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Capabilities:
    """What a model is known to take; a refusal teaches it, too.

    Attributes:
        reasoning: Whether it thinks before it answers, and takes neither a temperature nor OpenAI's max_tokens.
        form: The strongest form of structured output that it has not refused.
    """

    reasoning: bool
    form: str


def known_capabilities(config: LMConfig, forms: tuple[str, ...]) -> Capabilities:
    """What a model takes as far as its configuration or its name tells.

    No maintained library says which parameters a model takes. Names go by OpenAI's guide to reasoning models (o-series
    and gpt-5 on; the chat variants take all parameters) and by Anthropic's guide to migrating to Claude Opus 4.7 (from
    there on no sampling parameters). `LMConfig.reasoning` wins over the name; a model that neither names right refuses
    the parameter, and is asked without it from then on.

    Args:
        config: The model.
        forms: Forms of structured output of its API, the strongest first.
    """
    if config.reasoning is not None:
        return Capabilities(config.reasoning, forms[0])
    name = config.name.rpartition("/")[2].removeprefix("ft:")
    if preset_of(config.model).api == "anthropic":
        return Capabilities(bool(_ANTHROPIC.match(name)) and not _ANTHROPIC_SAMPLED.match(name), forms[0])
    return Capabilities(bool(_OPENAI_REASONING.match(name)), forms[0])


class Lessons:
    """What a provider's refusals taught about a model.

    Args:
        config: The model.
        forms: Forms of structured output of its API, the strongest first; the last asks for none.
    """

    def __init__(self, config: LMConfig, forms: tuple[str, ...]) -> None:
        self._model = config.model
        self._forms = forms
        self._reasons: dict[Capabilities, str] = {}
        self.known = known_capabilities(config, forms)

    def after(self, asked: Capabilities, request: LMRequest, error: LMRequestError) -> Capabilities:
        """What to ask with after a refusal.

        Raises:
            LMRequestError: The error itself, if asking otherwise would not help.
        """
        if isinstance(error, LMContextLengthError):
            raise error
        said = str(error)
        weaker = self._forms[self._forms.index(asked.form) + 1 :]
        if not asked.reasoning and _REFUSED_SAMPLING.search(said):
            learned = replace(asked, reasoning=True)
        elif request.response_format is not None and weaker:
            learned = replace(asked, form=weaker[0])
        else:
            raise error
        self._reasons[learned] = said
        return learned

    def confirm(self, asked: Capabilities) -> None:
        """Ask like this from now on: it was answered."""
        before, reason = self.known, self._reasons.get(asked)
        if reason is None:
            return
        # Of two calls at once, the one that asked for more may end later: what the other learned stays.
        form = max(before.form, asked.form, key=self._forms.index)
        self.known = Capabilities(before.reasoning or asked.reasoning, form)
        if self.known.reasoning != before.reasoning:
            events.publish(events.ParametersRefused(model=self._model, reason=reason))
        if form != before.form:
            events.publish(
                events.StructuredOutputRefused(model=self._model, refused=before.form, fallback=form, reason=reason)
            )
