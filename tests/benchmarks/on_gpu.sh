#!/usr/bin/env bash
# On a machine with a CUDA GPU: the GPU tests, images per second of DeiT-Tiny and ViT-B by the evaluator, in
# float32 and in bfloat16, and the time to prepare ViT-B. Takes less than 8 minutes; exits with 1 where a step
# fails, and where there is no GPU.
#
#   tests/benchmarks/on_gpu.sh
#   DEIT_TINY=deit_tiny.safetensors VIT_BASE=vit_base.safetensors DATA=labels.csv tests/benchmarks/on_gpu.sh
#
# Weights are random without DEIT_TINY and VIT_BASE, images are scans of digits without DATA, and PYTHON is that
# of .venv, or else python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=${PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || python=python3
if ! "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    echo "on_gpu.sh: $python has no torch that can use a CUDA GPU: run it on a machine with one and a CUDA build of torch" >&2
    exit 1
fi
if ! "$python" -c 'import bitfront.spaces' 2>/dev/null; then
    export PYTHONPATH="$PWD/.namespace${PYTHONPATH:+:$PYTHONPATH}" # the packages are here, bitfront is not installed
fi
"$python" -c 'import torch; print(torch.cuda.get_device_name(0), "with torch", torch.__version__)'

failed=0
# step SECONDS TITLE COMMAND...: a step that fails, or takes longer, is told and does not end the others.
step() {
    local limit=$1 title=$2 begun=$SECONDS status=0
    shift 2
    echo "== $title (at most $limit s)"
    timeout --kill-after=5 "$limit" "$@" || status=$?
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        echo "== took more than $limit s and was ended" >&2
    elif [ "$status" -ne 0 ]; then
        echo "== ended with status $status" >&2
    fi
    [ "$status" -eq 0 ] || failed=1
    echo "== $((SECONDS - begun)) s"
}
# speed SECONDS MODEL CHECKPOINT OPTIONS...
speed() {
    local limit=$1 model=$2 checkpoint=$3
    shift 3
    step "$limit" "$model $*" "$python" tests/benchmarks/bench_gpu.py --model "$model" \
        --checkpoint "$checkpoint" --data "${DATA:-digits}" "$@"
}

step 140 "GPU tests" "$python" -m pytest -q -m cuda -n 5 -p no:cacheprovider tests/evaluators
speed 70 deit_tiny_patch16_224 "${DEIT_TINY:-random}" --seconds 2
speed 100 vit_base_patch16_224 "${VIT_BASE:-random}" --seconds 2
speed 150 vit_base_patch16_224 "${VIT_BASE:-random}" --prepare --schemes fq-vit
exit "$failed"
