#!/usr/bin/env bash
# The paper's experiments, from the two data sets to the tables and figures, in one command:
#
#     bash examples/reproduce.sh --ade20k ADEChallengeData2016 --lip LIP --weights WEIGHTS --out paper
#
# WEIGHTS is a folder with torchvision's vgg16*.pth. Each step that is finished is noted in
# OUT/done; run the same command again to go on after an interruption: a training goes on at its
# last checkpoint, a benchmark at its last image. `--only hscene` or `--only hlip` leaves out the
# other data set, `--gpus N` trains with N processes, and `--smoke` runs all of it with tiny
# networks and few steps, in minutes on a CPU, to see that everything is in place.
#
# `--iharmony4 IHD` also trains the published networks that are given the region, each by its own
# recipe, and two stages beside one; `--smoke` does so without, on synthetic scenes.
#
# Hours to expect, computed from the networks' operations (not measured), with bf16 and data that
# keep up, for 100 TFLOP/s that a GPU really achieves (an A100, about; an H200 twice as many, an RTX
# 3090, which the paper used, a quarter):
#
#     HScene   rgb, om, each of the ablation's   6.4 without, 2.0 without the perceptual loss
#              omgan                             3.1
#     HLIP     rgb, om                          13.7 each
#              omgan                             3.1
set -euo pipefail
cd "$(dirname "$0")/.."

ade20k="" lip="" iharmony4="" weights="" out="paper" only="hscene hlip" gpus=1 smoke=""
usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case "$1" in
        --ade20k) ade20k=${2:?} && shift 2 ;;
        --lip) lip=${2:?} && shift 2 ;;
        --iharmony4) iharmony4=${2:?} && shift 2 ;;
        --weights) weights=${2:?} && shift 2 ;;
        --out) out=${2:?} && shift 2 ;;
        --only) only=${2:?} && shift 2 ;;
        --gpus) gpus=${2:?} && shift 2 ;;
        --smoke) smoke=1 && shift ;;
        *) usage ;;
    esac
done

die() {
    echo "reproduce.sh: $1" >&2
    exit 2
}
[ -d "$weights" ] || die "--weights must be a folder with the weights of LPIPS's networks, got '$weights'."
[ -z "$iharmony4" ] || [ -d "$iharmony4" ] || die "--iharmony4 must be a folder, got '$iharmony4'."
for name in $only; do
    case "$name" in
        hscene) [ -d "$ade20k" ] || die "--ade20k must be the root of ADE20K, got '$ade20k'." ;;
        hlip) [ -d "$lip" ] || die "--lip must be the root of LIP, got '$lip'." ;;
        *) die "--only must be hscene or hlip, got '$name'." ;;
    esac
done

if [ -n "$smoke" ]; then
    family=small-lpips plain=small size=32 net=alex
    quick=(--steps 4 --size 32 --batch-size 2 --save-every 2 --device cpu)
else
    family=paper plain=reference size=256 net=vgg
    quick=(--mixed-precision bf16 --compile --workers 8 --save-every 500)
fi
vgg=$(find "$weights" -name "$([ "$net" = vgg ] && echo vgg16 || echo alexnet)*.pth" | head -n 1)
[ -n "$vgg" ] || die "--weights must hold torchvision's $net network, vgg16*.pth or alexnet*.pth."
mkdir -p "$out/done" "$out/scores"

step() { # step NAME COMMAND...: runs it, unless it was finished before
    [ -e "$out/done/$1" ] && return
    printf '\n== %s\n' "$1"
    "${@:2}"
    touch "$out/done/$1"
}

launch() { # launch SCRIPT ARGUMENTS...: with as many processes as GPUs
    if [ "$gpus" -gt 1 ]; then
        torchrun --standalone --nproc-per-node "$gpus" "$@"
    else
        python "$@"
    fi
}

train() { # train BENCHMARK FAMILY MODEL...: new, or from its last checkpoint on
    local folder="$out/$1-$2" data resume=() perceptual=()
    [ "$1" = hscene ] && data=$ade20k || data=$lip
    [ -e "$folder/settings.json" ] && resume=(--resume)
    [ "$2" = "$plain" ] || perceptual=(--weights "$vgg")
    launch "examples/train_$1.py" --data "$data" --recipe "$2" --model "${@:3}" --out "$folder" \
        "${quick[@]}" "${perceptual[@]}" "${resume[@]}"
}

given() { # given SCRIPT NAME: networks that are given the region, new or from their last checkpoint
    local folder="$out/$2" flags=(--recipe published --workers 8 --save-every 500) data=() resume=()
    [ -n "$smoke" ] && flags=("${quick[@]}" --width 8 --layers 1 --critic-width 4)
    [ -n "$iharmony4" ] && data=(--data "$iharmony4")
    [ -e "$folder/settings.json" ] && resume=(--resume)
    launch "examples/$1" "${flags[@]}" "${data[@]}" "${resume[@]}" --out "$folder"
}

evaluate() { # evaluate BENCHMARK FAMILY: by the paper's protocol, on the benchmark's pictures
    python examples/evaluate.py "$out/$1-$2" --triptychs "$out/$1/images" --size "$size" \
        --protocol reference --lpips "$net" --weights "$vgg" --timing \
        --csv "$out/scores/$1-$2.csv" --overwrite
}

for name in $only; do
    if [ "$name" = hscene ]; then data=ade20k root=$ade20k; else data=lip root=$lip; fi
    step "$name-benchmark" \
        python -m opmask build-benchmark "$data" "$root" "$out/$name" --settings reference --images
    step "$name-$family" train "$name" "$family" rgb om omgan
    step "$name-$family-scores" evaluate "$name" "$family"
    step "$name-$family-figures" \
        python examples/figures.py "$out/$name-$family" --triptychs "$out/$name/images" --size "$size" \
        --overwrite
done
if [[ " $only " == *" hscene "* ]]; then
    step "hscene-$family-add" train hscene "$family-add" om
    step "hscene-$family-add-scores" evaluate hscene "$family-add"
    step "hscene-$plain" train hscene "$plain" om
    step "hscene-$plain-scores" evaluate hscene "$plain"
fi
if [ -n "$iharmony4$smoke" ]; then
    step iharmony4 given train_iharmony4.py iharmony4
    step two-stages given two_stages.py two-stages
    for kind in csv json; do
        cp "$out/iharmony4/reference-ih4.$kind" "$out/scores/iharmony4-$family.$kind"
        cp "$out/two-stages/scores.$kind" "$out/scores/two-stages-$family.$kind"
    done
fi
python benchmarks/tables.py "$out/scores" --family "$family" --without-perceptual "$plain" \
    -o "$out/tables.md" --overwrite
[ -z "$iharmony4$smoke" ] || echo "More of iHarmony4 is in $out/iharmony4 and $out/two-stages, results.md."
echo "The tables are in $out/tables.md, the figures in the folders 'figures' of the runs."
