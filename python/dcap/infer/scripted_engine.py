"""An engine that answers from a script: for tests, examples and trials without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dcap.core.errors import ConfigError
from dcap.infer.engine import Reply, Request
from dcap.model.decoding import Decoding

Script = Mapping[str, str | Reply] | Callable[[Request, int], str | Reply]


@dataclass(eq=False)
class ScriptedEngine:
    """Answers from a script.

    Example:
        engine = ScriptedEngine({"val.jsonl:1": '{"object_1": {"bbox_2d": [0, 0, 500, 500], "desc": "cup"}}'})

    Args:
        script: Answers by the key of the request, or a function of a request and the number of the sample, from 0.
    """

    script: Script
    num_parallel: int = 1
    """As `TextEngine.num_parallel`. A function that is called by several threads must allow it."""
    asked: list[Request] = field(default_factory=list)
    """All requests so far, in order."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Reply]:
        """Return what the script has for each request.

        Raises:
            ConfigError: The script has no answer to a request.
        """
        self.asked += requests
        return [self._reply(request, k) for request in requests for k in range(decoding.num_samples)]

    def _reply(self, request: Request, sample: int) -> Reply:
        if not isinstance(self.script, Mapping):
            answer = self.script(request, sample)
        elif request.key in self.script:
            answer = self.script[request.key]
        else:
            raise ConfigError(f"script must have an answer to {request.key}, and has none")
        return answer if isinstance(answer, Reply) else Reply(answer, "stop")
