#!/bin/sh
# The runs of 2026-11-29 and 30 (LOG.md) behind set-*.csv.gz, large.csv.gz, k32-*2 and k32-0-pairs,
# shares-[02].csv.gz, decomposition-[2345]*, -large, -control.csv.gz, at384*.csv.gz, second-*,
# third-*, rest-*.csv.gz, width256-384.csv.gz, programs*.csv.gz and efficiency-*.csv.gz, on two
# cores: ten to twenty-five minutes a setting, three quarters of an hour width 256, seven minutes a
# seed of large, fifteen minutes the shares of a seed, half an hour the programs or the specialists
# of a seed, an hour and a half its parts, a minute or two each run on chains. The data:
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
setting set-lr5e-4 --max_iters=7200 --learning_rate=5e-4 --eval_interval=100
setting set-layers4 --max_iters=7200 --n_layer=4
setting set-window200 --max_iters=7200 --block_size=200 --batch_size=8
setting set-dropout --max_iters=7200 --dropout=.1
setting set-window50 --max_iters=7200 --block_size=50 --batch_size=32
for V in 257 4096 8192; do  # bytes and the end of a document; four, eight times config/cpu.py's
    python prepare.py config/cpu.py config/arxiv32.py --dataset=arxiv32-v$V --vocab_size=$V
    setting set-vocab$V --max_iters=7200 --dataset=arxiv32-v$V
done

for seed in 2 3 4 5; do  # large.csv.gz: the two sets of 16 of config/dealt.py, and the 32
    python sweep.py config/cpu.py config/arxiv32.py --k='16 32' --seeds=$seed config/dealt.py \
        --jobs=2 --out_dir=out/large --results_dir=results/large-runs
done
python eval_xe.py --runs='out/large/*' --windows_per_component=256 --results_dir=results/large

python sweep.py config/cpu.py config/arxiv32.py --k=2 --seeds=0 --jobs=2 --out_dir=out/shares \
    --results_dir=results/shares-runs --sets='
    math.ST,stat.ME shares=7,1; q-bio.NC,cs.RO shares=7,1; cs.CE,cs.GT shares=1,7;
    cs.SY,cs.SI shares=1,7; cs.PL,cs.HC shares=3,1; stat.AP,cs.NE shares=3,1;
    math.CA,cs.DC shares=1,3; nlin.CD,cs.CR shares=1,3;
    math.QA,cs.CG,math.RT,physics.plasm-ph shares=5,1,1,1;
    math.LO,math.AC,physics.bio-ph,cs.SE shares=5,1,1,1;
    cs.LO,cond-mat.quant-gas,cs.DB,math.GR shares=5,1,1,1;
    math.ST,stat.ME,q-bio.NC,cs.RO,cs.CE,cs.GT,cs.SY,cs.SI shares=3,3,3,3,1,1,1,1;
    cs.PL,cs.HC,stat.AP,cs.NE,math.CA,cs.DC,nlin.CD,cs.CR shares=3,3,3,3,1,1,1,1'
python eval_xe.py --runs='out/shares/*' --windows_per_component=256 --results_dir=results/shares

# k32-2.csv.gz and k32-cross-2.csv.gz: seed 2, of which large has K = 16 and 32; shares-2.csv.gz
python sweep.py config/cpu.py config/arxiv32.py --k='1 2 4 8' --seeds=2 config/dealt.py --jobs=2 \
    --out_dir=out/seed2 --results_dir=results/seed2-runs
python eval_xe.py --runs='out/seed2/arxiv32-k1-*' --eval_components=all \
    --windows_per_component=256 --results_dir=results/seed2-cross
python eval_xe.py --runs='out/seed2/arxiv32-k[248]-*' --windows_per_component=256 \
    --results_dir=results/seed2
python sweep.py --parts_of='out/seed2/*' --jobs=2 --results_dir=results/parts2-runs
python eval_xe.py --runs='out/seed2/*' --windows_per_component=256 \
    --results_dir=results/parts2  # decomposition.csv: decomposition-2.csv.gz
python sweep.py config/cpu.py config/arxiv32.py --k=4 --seeds=3 config/dealt.py --jobs=2 \
    --out_dir=out/seed3 --results_dir=results/seed3-runs
tagged() {  # M_tag alone of the runs in a folder
    python sweep.py --parts_of="out/$1/*" --list=True | grep -e --tag=True | sh -e
    python eval_xe.py --runs="out/$1/*" --windows_per_component=256 --results_dir=results/$1
}
tagged seed3
for seed in 3 4 5 6; do  # decomposition-4.csv.gz: eights of more seeds, nine minutes each
    python sweep.py config/cpu.py config/arxiv32.py --k=8 --seeds=$seed config/dealt.py --jobs=2 \
        --out_dir=out/k8 --results_dir=results/k8-runs
done
tagged k8
dealt() { python sweep.py config/cpu.py config/arxiv32.py --k="$1" --seeds=$2 config/dealt.py \
    --out_dir=out/$3 --list=True; }
# decomposition-5.csv.gz: the first sets of more seeds, an hour and a quarter two at a time
for seed in 1 3 4 5 6 7 8 9; do dealt 2 $seed seeds | head -2; done | sh -e
for seed in 4 5 6 7 8 9; do dealt 4 $seed seeds | head -2; done | sh -e
for seed in 7 8 9; do dealt 8 $seed seeds; done | sh -e
tagged seeds
for seed in 2 3; do dealt '16 32' $seed large2; done | sh -e  # decomposition-large.csv.gz
tagged large2
# decomposition-control.csv.gz: the same sets and more, their documents dealt out at random
(dealt 4 1 control; dealt 4 2 control; dealt 4 3 control | head -4
    for seed in 1 2 3 4 5 6; do dealt 8 $seed control; done
    for seed in 0 4 5 6 7 8 9; do dealt 4 $seed control | head -1; done
    for seed in 0 7 8 9; do dealt 8 $seed control | head -1; done) |
    sed 's/ --components/ --shuffle_components=True&/' | sh -e
tagged control
python sweep.py config/cpu.py config/arxiv32.py --k=2 --seeds=2 --jobs=2 --out_dir=out/shares2 \
    --results_dir=results/shares2-runs --sets='
    cs.CL,cs.CG shares=1,15; stat.AP,cs.NE shares=1,15; physics.bio-ph,cs.DB shares=15,1;
    math.RT,math.LO shares=15,1; cs.HC,cs.GT shares=1,7; math.GR,cs.DC shares=7,1;
    math.ST,cs.CE shares=1,3; physics.plasm-ph,cs.RO shares=3,1;
    cs.PL,cs.SI,q-bio.NC,math.QA shares=1,5,5,5; math.AC,cs.SE,cs.DS,cs.LO shares=5,5,5,1;
    cs.CR,cond-mat.quant-gas,math.GT,q-bio.PE shares=5,1,1,1;
    stat.ME,math.CA,nlin.CD,cs.SY shares=1,1,1,5;
    cs.CL,cs.CG,stat.AP,cs.NE,physics.bio-ph,cs.DB,math.RT,math.LO shares=9,1,1,1,1,1,1,1;
    cs.PL,cs.SI,q-bio.NC,math.QA,math.AC,cs.SE,cs.DS,cs.LO shares=3,3,3,3,1,1,1,1'
python eval_xe.py --runs='out/shares2/*' --windows_per_component=256 --results_dir=results/shares2

# k32-0-pairs.csv.gz: K = 2 of seed 0, whose specialists docs/results.md (The commands) has
python sweep.py config/cpu.py config/arxiv32.py --k=2 --seeds=0 config/dealt.py --jobs=2 \
    --out_dir=out/k2s0 --results_dir=results/k2s0-runs
tagged k2s0  # its rows are in decomposition-0.csv.gz

# at384.csv.gz and at384-cross.csv.gz: four times the tokens, an hour and a half the specialists,
# three quarters of an hour the mixtures
longer() { python sweep.py config/cpu.py config/arxiv32.py --seeds=1 config/dealt.py --jobs=2 \
    --token_budget=384000 --max_iters=7200 --eval_interval=200 --patience=3 --out_dir=out/at384 \
    --results_dir=results/at384-runs "$@"; }
longer --k=1
python eval_xe.py --runs='out/at384/*' --eval_components=all --windows_per_component=256 \
    --results_dir=results/at384-cross
longer --k='4 8 16 32'
python eval_xe.py --runs='out/at384/arxiv32-k[!1]*,out/at384/arxiv32-k16*' \
    --windows_per_component=256 --results_dir=results/at384
longer --k=2  # at384-pairs.csv.gz, an hour
python eval_xe.py --runs='out/at384/arxiv32-k2-*' --windows_per_component=256 \
    --results_dir=results/at384-pairs

# second-*, third-*, rest-* and width256-384.csv.gz: forty minutes 384,000 tokens, fifteen 192,000
alone="cs.DS; cs.NE; cs.PL; math.AC; math.ST"
ring="$five; cs.DS,cs.NE; cs.NE,cs.PL; cs.PL,math.AC; math.AC,math.ST; cs.DS,math.ST; $alone"
rest='cs.DS,cs.PL; cs.NE,math.AC; cs.PL,math.ST; cs.DS,math.AC; cs.NE,math.ST;
    cs.DS,cs.NE,cs.PL; cs.NE,cs.PL,math.AC; cs.PL,math.AC,math.ST; cs.DS,math.AC,math.ST;
    cs.DS,cs.NE,math.ST'
budget() {  # name, seed and mix_seed, tokens, sets, keys
    name=$1 seed=$2 B=$3 sets=$4; shift 4
    [ $B = 384000 ] && set -- "$@" --eval_interval=200 --patience=3
    python sweep.py config/cpu.py config/arxiv32.py --k=2 --seeds=$seed --jobs=2 --max_iters=7200 \
        --sets="$sets" --token_budget=$B --out_dir=out/$name-$B --results_dir=results/$name-runs "$@"
    OMP_NUM_THREADS=2 python eval_xe.py --runs="out/$name-$B/*" --eval_components=$five \
        --windows_per_component=1024 --results_dir=results/$name-$B
}
for B in 384000 192000 96000 48000 24000 12000; do
    budget second 2 $B "$ring"
    budget third 0 $B "$five; $alone"
    budget rest 1 $B "$rest"  # whose specialists are those of budgets-*.csv.gz and long-384.csv.gz
done
budget width256 1 384000 "$five; $alone" --n_embd=256 --n_head=4

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
chain_sets() {  # tokens an epoch: M and M_tag of 16, 8, 4 and 2 chains
    for K in 16 8 4 2; do
        echo "$(chains $K) token_budget=$1; $(chains $K) token_budget=$1 tag=True;"
    done
}
on_chains() {  # folder, tokens an epoch, keys
    folder=$1 B=$2; shift 2
    python sweep.py config/demo.py --dataset=demo16 --candidates= --k=2 --seeds='0 1' --jobs=2 \
        --sets="$(chain_sets $B | sed '$s/;$//')" --batch_size=32 --learning_rate=2e-3 \
        --epochs=2000 --out_dir=out/$folder --results_dir=results/$folder-runs "$@"
}
for B in 51200 102400 204800 409600 819200 1638400; do  # efficiency-by-position.csv.gz
    on_chains efficiency $B --decay_lr=False --eval_interval=200 --patience=5
done
on_chains decayed 51200 --max_iters=2500 --eval_interval=200  # efficiency-decayed.csv.gz
on_chains decayed 102400 --max_iters=2500 --eval_interval=200
on_chains decayed 204800 --max_iters=5000 --eval_interval=200
on_chains decayed 409600 --max_iters=10000 --eval_interval=200
on_chains decayed 819200 --max_iters=10000 --eval_interval=200
on_chains epochs12 51200 --max_iters=625 --eval_interval=25  # efficiency-epochs12.csv.gz
on_chains epochs12 102400 --max_iters=1250 --eval_interval=50
on_chains epochs12 204800 --max_iters=2500 --eval_interval=100
on_chains epochs12 409600 --max_iters=5000 --eval_interval=200
python sweep.py config/demo.py --dataset=demo16 --candidates= --k=2 --seeds='0 1' --jobs=2 \
    --sets="$(chain_sets 819200 | head -1 | sed 's/;$//')" --batch_size=32 --learning_rate=2e-3 \
    --epochs=2000 --max_iters=20000 --eval_interval=200 --out_dir=out/longer \
    --results_dir=results/longer-runs
chains_eval() { OMP_NUM_THREADS=2 python eval_xe.py --windows_per_component=1024 "$@"; }
chains_eval --runs='out/efficiency/demo16*' --results_dir=results/efficiency  # decomposition.csv
chains_eval --runs='out/decayed/demo16*' --results_dir=results/decayed
chains_eval --runs='out/epochs12/demo16*,out/decayed/demo16*-819200tokens' \
    --results_dir=results/epochs12  # K = 16 and cells with too few steps: files of their own
chains_eval --runs='out/longer/demo16*' --results_dir=results/longer  # efficiency-longer-16.csv.gz
