"""The model card of a version, in Markdown: what it is, how it scored, how to use it, where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping

from magicapture.config import Config
from magicapture.packs.pack import PackError, load_pack
from magicapture.registry.gate import Scores

# What is learnt, by the knob tuning.trainable.
LEARNT = {
    "lora": "LoRA and learnt tokens",
    "all": "weights of the whole UNet and text encoder and learnt tokens",
    "cross_attention": "weights of the UNet's cross-attention and learnt tokens",
    "tokens": "learnt tokens",
}
LINEAGE = ("lineage", "data.hash", "data.dvc", "data.revision", "code.hash", "git.commit", "pack.digest", "config.digest", "seeds", "seed")


def card(name: str, config: Config, scores: Scores, tags: Mapping[str, str]) -> str:
    """Markdown of at most a few thousand characters: it is the version's description too, which MLflow limits."""
    measures = "\n".join(f"| {measure} | {value:.4f} |" for measure, value in scores.means.items())
    lineage = "\n".join(f"- {key}: `{tags[key]}`" for key in LINEAGE if tags.get(key))
    learnt = LEARNT[config.tuning.trainable]
    prompt = json.dumps(config.generation.prompts[0].replace("`", "'"), ensure_ascii=False)  # Python reads it too
    return f"""# {name}

Portraits of **{config.promotion.subject}** in the look **{config.promotion.style}**: {learnt} for the pack `{config.pack}`.
{_use(config)}

| measure | mean of {len(scores.portraits)} portraits |
| --- | --- |
{measures}

Measured by the judge under protocol `{scores.protocol}`; only scores of one protocol can be compared. The report lies with the run.

```python
import mlflow
mlflow.pyfunc.load_model("models:/{name}@champion").predict([{prompt}])  # PNG bytes
```

{lineage}
{_consent(config)}"""


def _consent(config: Config) -> str:
    """Whose consent it takes: everyone's, since a version may be of several people; nobody's for things."""
    of_things = config.preprocess.region == "object"
    return "" if of_things else "\nIt shows the faces of people. Use it with the consent of everyone it shows only.\n"


def _use(config: Config) -> str:
    """What the licences of the pack's weights allow; nothing where the pack is not on this machine."""
    try:
        roles = load_pack(config.pack).roles
    except PackError:
        return "The licences of its weights are in the pack's pack.yaml."
    closed = sorted(name for name, role in roles.items() if not role.commercial)
    return f"Not for commercial use: {', '.join(closed)}." if closed else "Its weights' licences allow commercial use."
