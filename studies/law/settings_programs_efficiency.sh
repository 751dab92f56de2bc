#!/bin/sh
# The runs of 2026-11-29 (LOG.md) behind set-*.csv.gz, programs*.csv.gz and
# efficiency-by-position.csv.gz, on two cores: ten to twenty minutes a setting, three quarters of
# an hour width 256, half an hour the programs, a minute or two each run on chains. The data:
# config/arxiv32.py and studies/programs.py say how, and
#     python prepare.py config/demo.py --dataset=demo16 --processes=markov:16
export OMP_NUM_THREADS=1
five=cs.DS,cs.NE,cs.PL,math.AC,math.ST
setting() {  # name, keys
    name=$1; shift
    python sweep.py config/cpu.py config/arxiv32.py --k=2 --seeds=1 --jobs=2 --out_dir=out/$name \
        --sets="$five; cs.DS,cs.NE; cs.NE,cs.PL; cs.PL,math.AC; math.AC,math.ST; cs.DS,math.ST;
            cs.DS; cs.NE; cs.PL; math.AC; math.ST" --results_dir=results/$name-runs "$@"
    OMP_NUM_THREADS=2 python eval_xe.py --runs="out/$name/*" --eval_components=$five \
        --windows_per_component=1024 --results_dir=results/$name  # xe_by_component.csv
}
setting set-epochs4 --epochs=4 --patience=0
setting set-width64 --max_iters=7200 --n_embd=64
setting set-width256 --max_iters=7200 --n_embd=256 --n_head=4
setting set-lr2e-3 --max_iters=7200 --learning_rate=2e-3

python sweep.py config/cpu.py --dataset=programs --candidates= --token_budget=84000 --k=2 \
    --seeds=0 --jobs=2 --results_dir=results/programs-runs --sets='
    c,cpp,go,perl,python,ruby,rust,tcl; c,go,python,rust; cpp,perl,ruby,tcl;
    c,cpp,ruby,rust; go,perl,python,tcl; c,cpp; cpp,go; go,perl; perl,python; python,ruby;
    ruby,rust; rust,tcl; c,tcl; c,python; cpp,ruby; go,rust; perl,tcl; c; cpp; go; perl;
    python; ruby; rust; tcl; c token_budget=42000; cpp token_budget=42000;
    go token_budget=42000; perl token_budget=42000; python token_budget=42000;
    ruby token_budget=42000; rust token_budget=42000; tcl token_budget=42000'
of_programs() { OMP_NUM_THREADS=2 python eval_xe.py --windows_per_component=1024 "$@"; }
of_programs --runs='out/programs-k1-s0-*-42000tokens' --results_dir=results/programs-half
of_programs --runs='out/programs-k1-s0-*-84000tokens' --eval_components=all \
    --results_dir=results/programs-cross
of_programs --runs='out/programs-k[248]-*' --results_dir=results/programs

chains() { seq -s, -f 'markov-%g' 0 $(($1 - 1)); }
sets=
for B in 51200 204800 819200; do  # 24 of these runs were done
    for K in 16 8 4 2; do
        sets="$sets; $(chains $K) token_budget=$B; $(chains $K) token_budget=$B tag=True"
    done
done
python sweep.py config/demo.py --dataset=demo16 --candidates= --k=2 --seeds='0 1' --jobs=2 \
    --sets="$sets" --batch_size=32 --learning_rate=2e-3 --decay_lr=False --epochs=2000 \
    --eval_interval=200 --patience=5 --out_dir=out/efficiency --results_dir=results/efficiency-runs
OMP_NUM_THREADS=2 python eval_xe.py --runs='out/efficiency/demo16*' \
    --windows_per_component=1024 --results_dir=results/efficiency  # decomposition.csv
