"""The sweep: its list of runs is all that the decomposition needs, make goes on past a failure, and a forecast with a known answer."""
import csv
import json
import math
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, TRAIN, run

from sample_mix import held_windows, list_documents, read_meta

SETTINGS = [*TRAIN, '--token_budget=800', '--max_iters=4', '--compile=False']


@pytest.fixture
def project(small, tmp_path, monkeypatch):
    """A folder with the scripts, data/small and config/tiny.py."""
    for name in ('Makefile', 'config', 'train.py', 'eval_xe.py', 'sample_mix.py', 'model.py', 'prepare.py', 'configurator.py', 'processes.py'):
        os.symlink(os.path.join(ROOT, name), tmp_path / name)
    os.symlink(small / 'data', tmp_path / 'data')
    values = [arg[2:].partition('=') for arg in SETTINGS]
    (tmp_path / 'tiny.py').write_text(''.join(f'{key} = {value if value[:1].isdigit() or value == "False" else repr(value)}\n' for key, _, value in values)
                                      + 'windows_per_component = 8\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(capsys, *args):
    """The command lines that sample_mix.py prints for a sweep."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as e:
        run('sample_mix.py', 'tiny.py', *args)
    assert e.value.code == 0
    return capsys.readouterr().out.splitlines()


def test_a_sweep_lists_all_that_the_decomposition_needs(project, capsys):
    lines = listed(capsys, '--token_budget=0', '--sweep_k=1 2 3', '--sweep_seeds=0 1')
    folders = [line.rpartition('--out_dir=')[2] for line in lines]
    # of each seed: 3 P_c, M and M_tag at K = 2 and 3, 2 + 3 D_c, and on shuffled documents M, M_tag, 3 D_c and 3 P_c
    assert len(set(folders)) == len(lines) == 2 * (3 + 2 * 2 + 5 + 2 + 3 + 3)
    for line in lines:
        python, script, *args = shlex.split(line)
        assert (python, script) == ('python', 'train.py')
        run(script, *args)
    assert {json.load(open(f'{folder}/config.json'))['max_iters'] for folder in folders} == {4}
    capsys.readouterr()
    run('eval_xe.py', 'tiny.py')
    assert 'these commands would fill them' not in capsys.readouterr().out
    with open('results/xe_vs_k.csv') as f:
        whole = [row for row in csv.DictReader(f) if row['dilution']]
    assert sorted((row['k'], 'shuffle_components=True' in row['setting']) for row in whole) == [('2', False), ('3', False), ('3', True)]
    assert all(0 <= float(row[f'{term}_p']) <= 1 for row in whole for term in ('delta', 'dilution', 'transfer', 'ambiguity'))


def test_a_sweep_hands_on_what_its_steps_come_from(project, capsys, fails):
    lines = listed(capsys, '--token_budget=0', '--max_iters=0', '--sweep_k=2', '--sweep_seeds=0', '--sweep_control=0', '--batch_size=4')
    budget = int(re.search(r'--k=2 --token_budget=(\d+)', lines[0])[1])
    assert all('--batch_size=4' in line and f'--max_iters={2 * (budget // 16) // 4} ' in line for line in lines)
    for args, said in ((['--sweep_k= '], 'a number each'), (['--sweep_k=1 2', '--sweep_control=3'], 'is not among'),
                       (['--sweep_k=2', '--shuffle_components=True'], 'leave them out'), (['--sweep_k=2', '--components=a,c'], 'leave them out')):
        assert said in fails('sample_mix.py', 'tiny.py', *args)


def test_a_specialist_that_does_not_fit_is_named(project, capsys):
    """Whatever the seed: components that hold less than the budget have a D_c, but no P_c."""
    for seed in range(3):
        with pytest.raises(SystemExit):
            run('sample_mix.py', 'tiny.py', '--token_budget=11200', '--sweep_k=1 3', f'--sweep_seeds={seed}', '--sweep_control=0')
        lines, err = capsys.readouterr()
        lines = lines.splitlines()
        held = {name: 16 * held_windows(list_documents(read_meta('small'), name, 'train'), 16) for name in ('a', 'b.B', 'c')}
        assert min(held.values()) < 11200 <= max(held.values())
        for name, tokens in held.items():
            fits = tokens >= 11200
            assert any(f'{name}-11200tokens' in line for line in lines) == fits and (f'{name} {tokens:,}' in err) == (not fits)


def test_make_sweep_goes_on_past_a_failure_and_then_only_makes_what_is_missing(project):
    make = ['make', 'sweep', f'PYTHON={sys.executable}', 'CONFIG=tiny.py', 'K=1', 'SEEDS=0', '-j2']
    shown = subprocess.run([*make, '-n'], capture_output=True, text=True)
    commands = [line for line in shown.stdout.splitlines() if 'train.py' in line]
    assert shown.returncode == 0 and len(commands) == 2 * 3 and os.listdir('out') == []
    open('out/small-k1-s0-a-800tokens', 'w').close()  # a file where a run's folder should be
    made = subprocess.run(make, capture_output=True, text=True)
    assert made.returncode == 2 and 'out/small-k1-s0-a-800tokens failed' in made.stderr and 'Traceback' not in made.stderr, made.stderr
    assert sum(os.path.exists(f'out/{name}/done') for name in os.listdir('out')) == 5 and os.path.exists('results/tiny/xe_vs_k.csv')
    os.remove('out/small-k1-s0-a-800tokens')
    shown = subprocess.run([*make, '-n'], capture_output=True, text=True)
    assert sum('train.py' in line for line in shown.stdout.splitlines()) == 1


def test_a_forecast_whose_answer_is_known(project, capsys):
    """XE is 3 + 2 (N / 64,000)^-1/2 with N effective tokens; a token of another component is worth a quarter of one's own."""
    B, names, rows = 64_000, ['a', 'b', 'c', 'd'], []

    def xe(N):
        return 3 + 2 * (N / B)**-0.5

    def add(folder, seed, own, tokens, of_each):
        os.makedirs(f'out/{folder}')
        json.dump({'tokens': tokens}, open(f'out/{folder}/mix.json', 'w'))
        json.dump({'tag': False, 'shuffle_components': False, 'constant_per_component': False, 'block_size': 100}, open(f'out/{folder}/config.json', 'w'))
        rows.extend({'run': folder, 'seed': seed, 'k': len(own), 'components': '+'.join(own), 'component': c, 'xe': value} for c, value in of_each.items())
    for seed in (0, 1):
        for K in (1, 2, 4):
            for own in names[:K] if K > 1 else names:
                add(f'{seed}{own}{K}', seed, [own], B // K, {c: xe(B // K * (1 if c == own else 0.25)) for c in names})
            if K > 1:
                add(f'M{seed}{K}', seed, names[:K], B, {c: xe(B / K * (1 + 0.25 * (K - 1))) + math.log(K) / 100 for c in names[:K]})
    os.makedirs('results/cross')
    with open('results/cross/xe_by_component.csv', 'w') as f:
        writer = csv.DictWriter(f, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    run('studies/forecast.py')
    with open('results/cross/forecast.csv') as f:
        whole = [row for row in csv.DictReader(f) if not row['component']]
    assert [(row['k'], row['seed']) for row in whole] == [('2', '0'), ('2', '1'), ('4', '0'), ('4', '1')]
    for row in whole:
        K = int(row['k'])
        on_line = np.interp(math.log(B / K * (1 + 0.25 * (K - 1))), np.log([B / 4, B / 2, B]), [xe(B / 4), xe(B / 2), xe(B)])  # c, d: see below
        if K == 4:  # c and d have no D_c at K = 2: their curve is a line from B / 4 to B
            on_line = (on_line + np.interp(math.log(B / 4 * 1.75), np.log([B / 4, B]), [xe(B / 4), xe(B)])) / 2
        assert math.isclose(float(row['forecast']), on_line - xe(B) + math.log(K) / 100, abs_tol=1e-3)
        assert float(row['forecast_low']) <= float(row['delta_xe']) <= float(row['forecast_high'])
    assert 'a token of b is worth 0.250, c is worth 0.250' in ''.join(capsys.readouterr().out)


def test_a_forecast_without_its_table_says_how_to_make_it(project, fails):
    assert '--eval_components' in fails('studies/forecast.py')


def test_a_forecast_from_one_seed_has_no_intervals_and_says_so(project, fails):
    os.makedirs('results/cross')
    with open('results/cross/xe_by_component.csv', 'w') as f:
        f.write('run,seed,k,components,component,xe\n')
        for own in 'ab':
            for tokens in (800, 400):
                os.makedirs(f'out/{own}{tokens}')
                json.dump({'tokens': tokens}, open(f'out/{own}{tokens}/mix.json', 'w'))
                json.dump({'tag': False, 'shuffle_components': False, 'constant_per_component': False, 'block_size': 100}, open(f'out/{own}{tokens}/config.json', 'w'))
                f.write(''.join(f'{own}{tokens},0,1,{own},{c},{5 - tokens / 800 - (c == own)}\n' for c in 'ab'))
    assert 'runs of one seed' in fails('studies/forecast.py') and not os.path.exists('results/cross/forecast.csv')
