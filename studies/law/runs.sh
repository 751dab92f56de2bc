#!/bin/sh
# The runs of the law of K (docs/results.md, LOG.md 2026-11-28), in the order of that day: two and a
# half hours on two cores of an AMD EPYC. They start from `make arxiv` and
#     python prepare.py config/cpu.py && python prepare.py config/demo.py
# and from abstracts that are not public, by which `others` runs:
#     python prepare.py config/cpu.py --dataset=abstracts-cpu --source=../shared/arxiv-abstracts \
#       --text_column=text --label_column=label --labels=
# Each sweep ends with its evaluation, results/<name>/xe_by_component.csv; NAME.csv.gz are these.
# part1.csv.gz is eval_xe.py --runs='out/arxiv-cpu-k[12]-*' after the first four.
# studies/effective_tokens.py makes the tables of them.
export OMP_NUM_THREADS=1
sweep() { python sweep.py config/cpu.py --jobs=2 --dtype=bfloat16 "$@"; }
chains() { python sweep.py config/demo.py --jobs=2 --dtype=bfloat16 --decay_lr=False --patience=3 \
    --learning_rate=2e-3 "$@"; }
others() { sweep --dataset=abstracts-cpu --candidates= --token_budget=92400 "$@"; }
sweep config/specialists.py --seeds='0 1' --results_dir=results/specialists
sweep config/pairs.py --seeds='0 1' --results_dir=results/pairs
sweep --sets='cs.CE;cs.DS;cs.NE;cs.PL;cs.SY;math.AC;math.GR;math.ST' --seeds=2 \
    --results_dir=results/third
others --sets='
    cs.AI token_budget=92400; cs.AI token_budget=46200; cs.AI token_budget=30800;
    cs.CV token_budget=92400; cs.CV token_budget=46200; cs.CV token_budget=30800;
    cs.DS token_budget=92400; cs.DS token_budget=46200; cs.DS token_budget=30800;
    cs.IT token_budget=92400; cs.IT token_budget=46200; cs.IT token_budget=30800;
    math.GR token_budget=92400; math.GR token_budget=46200; math.GR token_budget=30800;
    math.ST token_budget=92400; math.ST token_budget=46200; math.ST token_budget=30800;
    cs.AI,cs.CV; cs.AI,math.ST; cs.CV,cs.IT; cs.CV,math.GR; cs.CV,math.ST; cs.IT,math.GR;
    cs.IT,math.ST; math.GR,math.ST' --seeds=0 --results_dir=results/abstracts
python eval_xe.py --runs='out/arxiv-cpu-k1-s?-*-84000tokens,out/arxiv-cpu-k1-s2-*' \
    --eval_components=cs.CE,cs.DS,cs.NE,cs.PL,cs.SY,math.AC,math.GR,math.ST \
    --results_dir=results/cross
python eval_xe.py --runs='out/abstracts-cpu-k1-s0-*-92400tokens' \
    --eval_components=cs.AI,cs.CV,cs.DS,cs.IT,math.GR,math.ST \
    --results_dir=results/abstracts-cross
sweep --sets='
    cs.DS token_budget=84000; cs.DS token_budget=42000; cs.DS token_budget=28000;
    cs.NE token_budget=84000; cs.NE token_budget=42000; cs.NE token_budget=28000;
    cs.PL token_budget=84000; cs.PL token_budget=42000; cs.PL token_budget=28000;
    math.AC token_budget=84000; math.AC token_budget=42000; math.AC token_budget=28000;
    math.ST token_budget=84000; math.ST token_budget=42000; math.ST token_budget=28000;
    cs.DS,cs.NE; cs.DS,cs.PL; cs.DS,math.AC; cs.DS,math.ST; cs.NE,cs.PL; cs.NE,math.AC;
    cs.NE,math.ST; cs.PL,math.AC; cs.PL,math.ST; math.AC,math.ST' --seeds=0 --learning_rate=5e-4 \
    --out_dir=out/slow --results_dir=results/slow
sweep --sets='
    cs.DS,cs.NE token_budget=42000; cs.DS,cs.PL token_budget=42000;
    cs.DS,math.AC token_budget=42000; cs.DS,math.ST token_budget=42000;
    cs.NE,cs.PL token_budget=42000; cs.NE,math.AC token_budget=42000;
    cs.NE,math.ST token_budget=42000; cs.PL,math.AC token_budget=42000;
    cs.PL,math.ST token_budget=42000; math.AC,math.ST token_budget=42000' --seeds=0 \
    --results_dir=results/half
sweep config/mixtures.py --seeds='0 1' --results_dir=results/mixtures
sweep --sets=cs.CE,cs.DS,cs.NE,cs.PL,cs.SY,math.AC,math.GR,math.ST --seeds=2 \
    --results_dir=results/mixtures-k8
sweep --sets='cs.DS,cs.NE,cs.PL,math.AC,math.ST token_budget=42000' --seeds='0 1' \
    --results_dir=results/half5
sweep --sets='
    math.GR,math.ST tag=True; cs.CE,cs.PL,math.GR,math.ST;
    cs.CE,cs.PL,math.GR,math.ST tag=True;
    cs.CE,cs.DS,cs.NE,cs.PL,cs.SY,math.AC,math.GR,math.ST tag=True;
    cs.CE,cs.PL,math.GR,math.ST shuffle_components=True;
    cs.CE,cs.PL,math.GR,math.ST shuffle_components=True tag=True;
    cs.CE,cs.DS,cs.NE,cs.PL,cs.SY,math.AC,math.GR,math.ST shuffle_components=True;
    cs.CE,cs.DS,cs.NE,cs.PL,cs.SY,math.AC,math.GR,math.ST shuffle_components=True tag=True;
    math.GR,math.ST' --seeds='0 1 2' --results_dir=results/tagged
sweep --sets=cs.DS,cs.NE,cs.PL,math.AC,math.ST --seeds='0 1' --learning_rate=5e-4 \
    --out_dir=out/slow --results_dir=results/slow5
sweep --sets='
    cs.PL,math.GR,math.ST; cs.DS,cs.SY,math.ST; cs.CE,cs.DS,cs.NE,math.AC;
    cs.CE,cs.PL,cs.SY,math.ST; cs.DS,cs.NE,cs.PL,math.GR,math.ST;
    cs.CE,cs.NE,cs.PL,math.AC,math.ST; cs.CE,cs.PL,cs.SY,math.AC,math.GR,math.ST;
    cs.CE,cs.DS,cs.NE,cs.PL,cs.SY,math.AC; cs.CE,cs.DS,cs.NE,cs.PL,cs.SY,math.GR,math.ST;
    cs.CE,cs.NE,cs.PL,cs.SY,math.AC,math.GR,math.ST' --seeds='0 1' --results_dir=results/fresh
sweep --sets='cs.DS,cs.NE,cs.PL,math.AC,math.ST token_budget=168000' --seeds='0 1' \
    --results_dir=results/twice5
others --sets='
    cs.CE token_budget=92400; cs.CE token_budget=46200; cs.CE token_budget=30800;
    cs.NE token_budget=92400; cs.NE token_budget=46200; cs.NE token_budget=30800;
    cs.PL token_budget=92400; cs.PL token_budget=46200; cs.PL token_budget=30800;
    cs.SY token_budget=92400; cs.SY token_budget=46200; cs.SY token_budget=30800;
    math.AC token_budget=92400; math.AC token_budget=46200; math.AC token_budget=30800' \
    --seeds=0 --results_dir=results/abs11-specialists
python eval_xe.py --runs='out/abstracts-cpu-k1-s0-*-92400tokens' \
    --eval_components=cs.AI,cs.CE,cs.CV,cs.DS,cs.IT,cs.NE,cs.PL,cs.SY,math.AC,math.GR,math.ST \
    --results_dir=results/abs11-cross
chains --token_budget=25600 --sets='
    markov-0 token_budget=25600; markov-0 token_budget=12800; markov-0 token_budget=8533;
    markov-0 token_budget=6400; markov-0 token_budget=4266; markov-0 token_budget=3200;
    markov-1 token_budget=25600; markov-1 token_budget=12800; markov-1 token_budget=8533;
    markov-1 token_budget=6400; markov-1 token_budget=4266; markov-1 token_budget=3200;
    markov-2 token_budget=25600; markov-2 token_budget=12800; markov-2 token_budget=8533;
    markov-2 token_budget=6400; markov-2 token_budget=4266; markov-2 token_budget=3200;
    markov-3 token_budget=25600; markov-3 token_budget=12800; markov-3 token_budget=8533;
    markov-3 token_budget=6400; markov-3 token_budget=4266; markov-3 token_budget=3200;
    markov-0,markov-1; markov-0,markov-1 tag=True; markov-0,markov-2;
    markov-0,markov-2 tag=True; markov-0,markov-3; markov-0,markov-3 tag=True;
    markov-1,markov-2; markov-1,markov-2 tag=True; markov-1,markov-3;
    markov-1,markov-3 tag=True; markov-2,markov-3; markov-2,markov-3 tag=True;
    markov-0,markov-1,markov-2; markov-0,markov-1,markov-2 tag=True;
    markov-0,markov-1,markov-3; markov-0,markov-1,markov-3 tag=True;
    markov-0,markov-2,markov-3; markov-0,markov-2,markov-3 tag=True;
    markov-1,markov-2,markov-3; markov-1,markov-2,markov-3 tag=True;
    markov-0,markov-1,markov-2,markov-3; markov-0,markov-1,markov-2,markov-3 tag=True' \
    --seeds='0 1' --batch_size=16 --epochs=120 --eval_interval=50 --results_dir=results/chains
sweep --sets='
    cs.DS token_budget=168000; cs.NE token_budget=168000; cs.PL token_budget=168000;
    math.AC token_budget=168000; math.ST token_budget=168000; cs.DS,cs.NE token_budget=168000;
    cs.DS,cs.PL token_budget=168000; cs.DS,math.AC token_budget=168000;
    cs.DS,math.ST token_budget=168000; cs.NE,cs.PL token_budget=168000;
    cs.NE,math.AC token_budget=168000; cs.NE,math.ST token_budget=168000;
    cs.PL,math.AC token_budget=168000; cs.PL,math.ST token_budget=168000;
    math.AC,math.ST token_budget=168000' --seeds=0 --results_dir=results/twice
others --sets='
    cs.AI token_budget=23100; cs.CE token_budget=23100; cs.CV token_budget=23100;
    cs.DS token_budget=23100; cs.IT token_budget=23100; cs.NE token_budget=23100;
    cs.PL token_budget=23100; cs.SY token_budget=23100; math.AC token_budget=23100;
    math.GR token_budget=23100; math.ST token_budget=23100' --seeds=0 \
    --results_dir=results/abs11-quarter
others --sets='
    cs.AI,cs.CE,cs.CV,cs.DS,cs.IT,cs.NE,cs.PL,cs.SY,math.AC,math.GR,math.ST;
    cs.CE,cs.CV,cs.DS,cs.IT; cs.CE,cs.DS,cs.NE,cs.SY; cs.CV,cs.DS,cs.NE,cs.SY,math.GR,math.ST;
    cs.CE,cs.CV,cs.IT,cs.NE,cs.SY,math.ST; cs.AI,cs.CE,cs.DS,cs.IT,cs.NE,cs.PL,cs.SY,math.ST;
    cs.AI,cs.CV,cs.DS,cs.IT,cs.PL,cs.SY,math.AC,math.GR' --seeds='0 1' \
    --results_dir=results/abs11
sweep --sets='
    math.GR token_budget=42000; math.ST token_budget=42000; cs.CE token_budget=21000;
    cs.PL token_budget=21000; math.GR token_budget=21000; math.ST token_budget=21000;
    cs.CE token_budget=10500; cs.DS token_budget=10500; cs.NE token_budget=10500;
    cs.PL token_budget=10500; cs.SY token_budget=10500; math.AC token_budget=10500;
    math.GR token_budget=10500; math.ST token_budget=10500' --seeds=2 \
    --results_dir=results/diluted-seed2
sweep --sets='
    cs.DS token_budget=84000; cs.DS token_budget=42000; cs.DS token_budget=28000;
    cs.PL token_budget=84000; cs.PL token_budget=42000; cs.PL token_budget=28000;
    math.AC token_budget=84000; math.AC token_budget=42000; math.AC token_budget=28000;
    math.ST token_budget=84000; math.ST token_budget=42000; math.ST token_budget=28000;
    cs.DS,cs.PL; cs.DS,math.AC; cs.DS,math.ST; cs.PL,math.AC; cs.PL,math.ST; math.AC,math.ST;
    cs.DS,cs.PL,math.AC,math.ST' --seeds=0 --n_embd=256 --n_head=4 --out_dir=out/wide \
    --results_dir=results/wide
chains --token_budget=409600 --sets='
    markov-0,markov-1 token_budget=102400; markov-0,markov-1 token_budget=102400 tag=True;
    markov-0,markov-1,markov-2,markov-3 token_budget=102400;
    markov-0,markov-1,markov-2,markov-3 token_budget=102400 tag=True;
    markov-0,markov-1,markov-2,markov-3,markov-4,markov-5,markov-6,markov-7 token_budget=102400;
    markov-0,markov-1,markov-2,markov-3,markov-4,markov-5,markov-6,markov-7 token_budget=102400 tag=True;
    markov-0,markov-1 token_budget=409600; markov-0,markov-1 token_budget=409600 tag=True;
    markov-0,markov-1,markov-2,markov-3 token_budget=409600;
    markov-0,markov-1,markov-2,markov-3 token_budget=409600 tag=True;
    markov-0,markov-1,markov-2,markov-3,markov-4,markov-5,markov-6,markov-7 token_budget=409600;
    markov-0,markov-1,markov-2,markov-3,markov-4,markov-5,markov-6,markov-7 token_budget=409600 tag=True' \
    --seeds='0 1' --batch_size=32 --epochs=60 --eval_interval=100 --out_dir=out/efficiency \
    --results_dir=results/efficiency
others --sets='
    cs.AI,cs.CE; cs.AI,cs.DS; cs.AI,cs.IT; cs.AI,cs.NE; cs.AI,cs.PL; cs.AI,cs.SY;
    cs.AI,math.AC; cs.AI,math.GR; cs.CE,cs.CV; cs.CE,cs.DS; cs.CE,cs.IT; cs.CE,cs.NE;
    cs.CE,cs.PL; cs.CE,cs.SY; cs.CE,math.AC; cs.CE,math.GR; cs.CE,math.ST; cs.CV,cs.DS;
    cs.CV,cs.NE; cs.CV,cs.PL; cs.CV,cs.SY; cs.CV,math.AC; cs.DS,cs.IT; cs.DS,cs.NE;
    cs.DS,cs.PL; cs.DS,cs.SY; cs.DS,math.AC; cs.DS,math.GR; cs.DS,math.ST; cs.IT,cs.NE;
    cs.IT,cs.PL; cs.IT,cs.SY; cs.IT,math.AC; cs.NE,cs.PL; cs.NE,cs.SY; cs.NE,math.AC;
    cs.NE,math.GR; cs.NE,math.ST; cs.PL,cs.SY; cs.PL,math.AC; cs.PL,math.GR; cs.PL,math.ST;
    cs.SY,math.AC; cs.SY,math.GR; cs.SY,math.ST; math.AC,math.GR; math.AC,math.ST' --seeds=0 \
    --results_dir=results/abs11-pairs
