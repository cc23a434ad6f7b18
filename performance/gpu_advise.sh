#!/bin/sh
# Advice held against measurement on a GPU: vLLM, three draft lengths, two concurrencies, three repeats and a baseline;
# every length is then predicted from the other two.
#
#   ENGINE_PYTHON  Python of the environment that has vLLM
#   ENGINE_ARGS    further arguments of `vllm serve` (optional)
#   OUT            folder for the study and the tables (advice)
#   MODEL, DRAFT   another pair than the package's small one (optional)
#   METHOD         draft_model, or eagle3 with MODEL and DRAFT
#   PROMPTS        further options about prompts, such as "--benchmark speed-bench --config qualitative"
#
# 24 runs on 4 servers (8 a length), of 44 prompts each unless PROMPTS says otherwise: about 4 minutes with the small pair.
set -eu
: "${ENGINE_PYTHON:?the Python that has vLLM}"
OUT=${OUT:-advice}
METHOD=${METHOD:-draft_model}
PROMPTS=${PROMPTS:---config small}
STUDY=${MODEL:+--model $MODEL --draft-model ${DRAFT:?the drafter of MODEL}}

# shellcheck disable=SC2086 # options are split on purpose
ns-specdec sweep ${STUDY:-small} --engine vllm --engine-python "$ENGINE_PYTHON" \
  --engine-args "${ENGINE_ARGS:---gpu-memory-utilization 0.5}" --method none --method "$METHOD" --draft-length 1,3,5 \
  --concurrency 1,8 --repeats 3 --max-tokens 128 $PROMPTS --output-dir "$OUT/study"
ns-specdec advise "$OUT/study" --output-dir "$OUT" | tee "$OUT/advice.txt"
python "$(dirname "$0")/held_out_lengths.py" "$OUT/study" | tee "$OUT/held_out.md"
