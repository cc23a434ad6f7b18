"""The sha256 of every fixed text in SPEED-Bench's prompts, by flavor.

Over the UTF-8 text; for texts with holes over `json.dumps` of the literals and `["hole", expression]`. Taken from
NVIDIA-NeMo/Skills at aeda1da41ec2 (nemo_skills/dataset/speed-bench/prepare.py) and NVIDIA/Model-Optimizer at
a2fbac7bad8a (examples/specdec_bench/specdec_bench/datasets/speed.py).
"""

from __future__ import annotations

from nemo_skills_specdec.prompts.speed_bench.schema import Flavor

DISCRIMINATING = ("ss_head", "ts_new", "wr_head")
"""The texts in which the flavors differ."""

_SAME = {
    "placeholder": "19049bff4154be06ed5ffae13ff433ed69c7792e637c68da495ee28e1d870886",
    "pad": "b5ddda3c8249f1ee2be2ff047747aa3937a255abf44ccf96eb2b3d135a1df3fa",
    "ss_after_head": "97576dd4dc03e67ccfe9f6cd78169787bcc74f119f26ba640acf7d069f6e9154",
    "ss_before_answers": "75c27cd670b4a5991e9c2aeaad032803227d696996a8b97491c388e1ae35cc2f",
    "ss_tail": "540abbf0e24561f6920242f40376d028f98b3e4422fa0ccd5ee6d0f200c66f67",
    "ts_old": "e767a48bbe452c3e2b3ad5e814243d48b46a7af0473a9e24d6084a2c67ca07e7",
    "wr_tail": "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
    "wr_item": "6c16ac62a752d4c608a420a94f1aa01f06c8f7e07b9e8608b5db45689fb01483",
    "rag": "7c63f03cf51598fe2825dacc39d63b438bf686b45e12813e369c5395d400bd10",
    "coser": "778fcb593f39b0b3e93849b51febcf9ddcad8e75a893dcbfd58eb13b4a89fa6d",
    "coser_none": "8bb067ce6a73c618d0909a925caf84711752947da52e84e07557cdc244f6e4b9",
    "mmlu": "901c021a4a4f285129c677a35fc95bda1b7340f50d1e184b4c4bfa2bfc8801ec",
    "mmlu_item": "f287a70229bd8c3bc452e5ae4120be3111a8dc7f370348d1436f2f7c18df100e",
    "mmlu_option": "daabe4ad65bacdd527bd65ffb75819bded81b2e17706c75bd517d3c4e3d65183",
    "hle_head": "a9b5b17c3b757ba25508e90d277a7d8de5b96d567ed191f0c31dec398fd99410",
    "hle_tail": "c7bb47635ae6838e8262348834f539e9cb765e8bc6cbdfc6696d714df6ba195f",
    "hle_q": "b5fee25716a410ba5ee10aea51ea7095b7bd52c42a0c7665b202592f3c52ada1",
    "hle_a": "a8fc569eeb57a13a122f8b7235a496cafe165a3e9411435fffba9c7fbaabffcf",
    "hle_end": "75a11da44c802486bc6f65640aa48a730f0f684c5c07a42ba3cd1735eb3fb070",
}

KNOWN: dict[str, dict[Flavor, str]] = {
    **{name: {"nemo-skills": digest, "specdec_bench": digest} for name, digest in _SAME.items()},
    "ss_head": {
        "nemo-skills": "bff40503844e165350b6eefe00c496cd985e98bf7442369cefe85d3d2f1c662f",
        "specdec_bench": "303cdbd5911dd8de4a6ccdd8844f97ff185362ccf4a277b4d8e2543416607e89",
    },
    "ts_new": {
        "nemo-skills": "491910dfa93f8a1806cfd536e3b5b20658c521192f63b4193c169e9c890b6100",
        "specdec_bench": "983da4b132b72295a0173f05535e96be53f194c81c4e5eb1eb297cc14088833a",
    },
    "wr_head": {
        "nemo-skills": "47e01072d2c3c635c6bad7a7af6e5d24736dfc897fe4d0645745279b9d1d3a8c",
        "specdec_bench": "0c103c0fe69d13af81311834413f0d609840e9dfabe462672803c1954a77b16e",
    },
}
"""Text name -> flavor -> sha256."""
