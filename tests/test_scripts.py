"""The scripts from end to end on a small corpus: what they write, and that it is right."""
import csv
import glob
import itertools
import json
import math
import os
import shutil

import numpy as np
import pytest
import torch
from child import start_two
from conftest import MODEL, SMALL, TRAIN, run
from test_model import direct_losses

import model
from checkpoint import write_checkpoint
from configurator import file_hash, sealed
from sample_mix import draw_mix, read_meta

def rows(path):
    with open(path, newline='') as f:
        return list(csv.DictReader(f))

def weights(folder):
    return torch.load(os.path.join(folder, 'ckpt.pt'), weights_only=True)['model']

# ---- train.py

@pytest.fixture(scope='session')
def trained(prepared):
    """Runs at K = 1 (each component) and K = 2, in out/."""
    here = os.getcwd()
    os.chdir(prepared)
    try:
        for name in ('a', 'b.B', 'c'):
            run('train.py', *TRAIN, f'--components={name}')
        run('train.py', *TRAIN, '--k=2')
    finally:
        os.chdir(here)
    return prepared

def test_a_run_trains_exactly_the_budget(small, trained):
    record = draw_mix(read_meta('small'), 16, k=2)[1]
    log, config = rows('out/small-k2-s0/log.csv'), json.load(open('out/small-k2-s0/config.json'))
    steps = 2 * record['windows'] // 8
    assert config['max_iters'] == steps == int(log[-1]['iter'])
    assert int(log[-1]['tokens']) == steps * 8 * 16
    assert 0 <= 2 * record['tokens'] - steps * 8 * 16 < 8 * 16
    assert json.load(open('out/small-k2-s0/mix.json')) == record
    evaluated = [*range(0, steps, 10), *[steps] * (steps % 10 > 0)]
    assert [int(r['iter']) for r in log if r['val_xe']] == evaluated
    assert float(log[-1]['val_xe']) < 0.8 * float(log[0]['val_xe'])
    by_component = [float(log[-1][f'val_xe_{name}']) for name in record['components']]
    assert float(log[-1]['val_xe']) == pytest.approx(np.mean(by_component))
    best = torch.load('out/small-k2-s0/best.pt', weights_only=True)
    lowest = min(float(r['val_xe']) for r in log if r['val_xe'])
    assert best['best_val_loss'] == pytest.approx(lowest)
    assert {'model', 'model_args', 'iter_num', 'best_val_loss', 'config', 'mix'} <= set(best)
    saved = torch.load('out/small-k2-s0/ckpt.pt', weights_only=True)
    assert {'model', 'optimizer', 'model_args', 'iter_num', 'best_val_loss', 'config', 'rng',
            'order', 'mix', 'log', 'code', 'tags'} <= set(saved)
    assert saved['mix']['data'] == read_meta('small')['seal']
    assert [row['val_xe'] for row in saved['log'] if 'val_xe' in row] == [
        float(r['val_xe']) for r in log if r['val_xe']]

def test_every_k_takes_the_same_steps_of_an_odd_budget(small):
    for k in (1, 2, 3):
        run('train.py', *TRAIN, f'--k={k}', f'--token_budget={89 * 16}', '--epochs=1',
            '--batch_size=4', f'--out_dir=out2/odd{k}')
    configs = [json.load(open(f'out2/odd{k}/config.json')) for k in (1, 2, 3)]
    assert {config['max_iters'] for config in configs} == {89 // 4}

def test_evaluation_does_not_move_the_training(small):
    args = [*TRAIN, '--k=2', '--dropout=0.1', '--max_iters=25']  # which draws random numbers
    run('train.py', *args, '--out_dir=out2/e')
    run('train.py', *args, '--eval_interval=7', '--log_interval=3',
        '--val_windows_per_component=5', '--out_dir=out2/f')
    for a, b in zip(weights('out2/e').values(), weights('out2/f').values()):
        assert torch.equal(a, b)

def test_the_best_weights_have_the_xe_that_chose_them(small):
    """eval_xe.py finds the validation XE of the log again, of best.pt and of the last step."""
    run('train.py', *TRAIN, '--k=2', '--dropout=0.1', '--learning_rate=3e-2', '--max_iters=300',
        '--eval_interval=2', '--patience=1', '--out_dir=out2/best')
    evaluated = [row for row in rows('out2/best/log.csv') if row['val_xe']]
    best = min(evaluated, key=lambda row: float(row['val_xe']))
    assert 'stopped early' in evaluated[-1]['event'] and best is evaluated[-2]
    for ckpt, row in (('best', best), ('last', evaluated[-1])):
        run('eval_xe.py', '--runs=out2/best', '--split=val', f'--ckpt={ckpt}', '--dtype=float32',
            '--results_dir=results9')
        found = {r['component']: float(r['xe']) for r in rows('results9/xe_by_component.csv')}
        assert len(found) == 2
        for name, xe in found.items():
            assert float(row[f'val_xe_{name}']) == pytest.approx(xe, abs=1e-5)

@pytest.mark.parametrize('args, decay', [((), True), (('--decay_lr=False',), False)])
def test_the_learning_rate_warms_up_and_decays(small, args, decay):
    run('train.py', *TRAIN, '--k=2', '--max_iters=20', '--warmup_iters=4', '--learning_rate=1e-2',
        '--min_lr=1e-3', '--log_interval=1', '--out_dir=out2/lr', '--overwrite=True', *args)
    lr = [float(row['lr']) for row in rows('out2/lr/log.csv')[1:]]  # of the steps 0 .. 19
    np.testing.assert_allclose(lr[:5], [.002, .004, .006, .008, .01])
    cosine = 1e-3 + 9e-3 * (1 + np.cos(np.pi * np.arange(16) / 16)) / 2
    np.testing.assert_allclose(lr[4:], cosine if decay else 16 * [.01])
    groups = torch.load('out2/lr/ckpt.pt', weights_only=True)['optimizer']['param_groups']
    assert [group['weight_decay'] for group in groups] == [0.1, 0.0]
    dims = [x.dim() for x in weights('out2/lr').values() if x.dim() > 0]
    assert len(groups[1]['params']) == dims.count(1)

@pytest.mark.parametrize('tag', [False, True])
def test_a_window_begins_with_the_tag_of_its_component_or_bos(small, monkeypatch, tag):
    """Whatever the model is given, in training and evaluation, lies in that component's files."""
    given, forward = set(), model.GPT.forward

    def noted(self, idx, targets):
        given.update((int(i[0]), w.numpy().astype('<u2').tobytes()) for i, w in zip(idx, targets))
        return forward(self, idx, targets)
    monkeypatch.setattr(model.GPT, 'forward', noted)
    run('train.py', *TRAIN, '--components=a,c', f'--tag={tag}', '--max_iters=4', '--out_dir=out2/t',
        '--overwrite=True')
    run('eval_xe.py', '--runs=out2/t', '--results_dir=results9')
    files = {name: b'|'.join(open(path, 'rb').read() for path in sorted(
        glob.glob(f'data/small/{name}/*.bin'))) for name in ('a', 'c')}
    of = [(first, [name for name in files if window in files[name]]) for first, window in given]
    firsts = {name: {first for first, where in of if where == [name]} for name in files}
    bos = read_meta('small')['bos_id']
    assert firsts == ({'a': {300}, 'c': {302}} if tag else {'a': {bos}, 'c': {bos}})
    assert sum(len(where) == 1 for _, where in of) > 40  # few lie in both

def test_two_processes_and_accumulation_equal_one(small):
    args = [*TRAIN, '--k=2', '--max_iters=20', '--log_interval=1', '--compile=False']
    run('train.py', *args, '--out_dir=out2/one')
    run('train.py', *args, '--out_dir=out2/accumulated', '--batch_size=4',
        '--gradient_accumulation_steps=2')
    processes = start_two(*args, '--out_dir=out2/two')
    for process in processes:
        process.join()
        assert process.exitcode == 0, open('output.txt').read()
    for other in ('out2/two', 'out2/accumulated'):
        for r, s in zip(rows('out2/one/log.csv'), rows(f'{other}/log.csv'), strict=True):
            assert all(float(r[c] or 0) == pytest.approx(float(s[c] or 0), abs=1e-5)
                       for c in r if c not in ('seconds', 'tokens_per_second', 'event'))
        for a, b in zip(weights('out2/one').values(), weights(other).values()):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)

def test_training_compiles_once_and_its_evaluation_once(small, monkeypatch):
    """50 steps whose learning rate moves, with evaluations whose last batch is not full."""
    compile = torch.nn.Module.compile  # with the code generator left out, which takes a minute
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self, **more: compile(
        self, backend='aot_eager', **more | {'mode': None}))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    run('train.py', *TRAIN, '--k=2', '--max_iters=50', '--dropout=0.1', '--compile=True',
        '--out_dir=out2/compiled')
    counters, log = torch._dynamo.utils.counters, rows('out2/compiled/log.csv')
    assert not counters['graph_break']
    # compile_model's trial, the training step, the evaluation
    assert counters['stats']['unique_graphs'] == 1 + 2
    assert len({r['lr'] for r in log}) == len([r for r in log if r['val_xe']]) == 6

def test_without_a_compiler_a_run_says_so_and_goes_on(small, monkeypatch, capsys):
    def missing(*args, **kwargs):
        raise RuntimeError('no C++ compiler')
    monkeypatch.setattr(torch, 'compile', missing)
    run('train.py', *TRAIN, '--k=2', '--max_iters=3', '--compile=True', '--out_dir=out2/eager')
    assert [line for line in capsys.readouterr().err.splitlines()
            if 'no C++ compiler' in line and 'going on without it' in line]
    assert rows('out2/eager/log.csv')[-1]['iter'] == '3'

def test_bfloat16_learns_what_float32_does(small):
    """After 200 steps the validation XE differs less than over seeds."""
    last = []
    for seed, dtype in ((0, 'float32'), (1, 'float32'), (2, 'float32'), (0, 'bfloat16')):
        run('train.py', *TRAIN, '--k=2', '--max_iters=200', '--eval_interval=100',
            f'--seed={seed}', f'--dtype={dtype}', '--out_dir=out2/bf', '--overwrite=True')
        last.append(float(rows('out2/bf/log.csv')[-1]['val_xe']))
        assert json.load(open('out2/bf/config.json'))['dtype'] == dtype
    *float32, bfloat16 = last
    assert bfloat16 != float32[0] and abs(bfloat16 - float32[0]) < np.ptp(float32), last

def test_tag_and_shuffled_control_train_and_evaluate(small, trained):
    run('train.py', *TRAIN, '--k=2', '--tag=True', '--max_iters=5')
    run('train.py', *TRAIN, '--k=2', '--shuffle_components=True', '--max_iters=5')
    tagged = torch.load('out/small-k2-s0-tag/ckpt.pt', weights_only=True)
    names = tagged['mix']['components']
    assert tagged['model_args']['vocab_size'] == 303
    assert tagged['tags'] == {name: 300 + ['a', 'b.B', 'c'].index(name) for name in names}
    run('eval_xe.py', '--runs=out/small-k2-s0-tag,out/small-k2-s0-shuffled',
        '--results_dir=results2')
    assert {r['run'] for r in rows('results2/xe_by_component.csv')} == {
        'small-k2-s0-tag', 'small-k2-s0-shuffled'}

@pytest.mark.parametrize('args, says', [
    ([], 'holds a run already'),
    (['--init_from=resume'], 'nothing to resume'),
    (['--init_from=resume', '--n_embd=32'], 'was trained with n_embd=16, not 32'),
    (['--init_from=again'], 'choose scratch, resume or auto'),
    (['--n_embd=15'], 'does not divide into'),
    (['--batch_size=100000'], 'less than one step'),
    (['--epochs=0'], '--epochs=0: at least 1'),
    (['--dtype=float16'], 'choose float32 or bfloat16'),
    (['--device=cuda:9'], 'this machine has'),
    (['--k=7'], 'at least 1, at most 3'),
    (['--token_budget=99999999'], 'the largest budget for these components is'),
])
def test_a_mistake_in_training_writes_nothing(small, trained, fails, args, says):
    def times():
        return {path: os.path.getmtime(path) for path in glob.glob('out/**', recursive=True)
                if os.path.basename(path) != 'lock'}  # which says who has looked at the run
    before = times()
    assert says in fails('train.py', *TRAIN, '--k=2', *args)
    assert times() == before

# ---- eval_xe.py and sample_mix.py

def test_evaluation_writes_what_the_design_says(small, trained, all_pictures):
    run('eval_xe.py', '--runs=out/small-k?-s0,out/small-k1-s0-[abc]*', '--dump=True')
    by_position, by_component, vs_k = (rows(f'results/xe_{name}.csv')
                                       for name in ('by_position', 'by_component', 'vs_k'))
    run_columns = ['run', 'dataset', 'split', 'k', 'seed', 'mix_seed', 'components', 'component']
    assert list(by_position[0])[:16] == [*run_columns, *(
        'position n_windows n_docs xe se ci_low ci_high bayes_xe'.split())]
    assert list(by_component[0])[:21] == [*run_columns, *(
        'n_windows n_docs n_tokens xe se ci_low ci_high perplexity bits_per_byte'
        ' xe_k1 delta_xe delta_ci_low delta_ci_high'.split())]
    assert len(by_position) == 5 * 16 and len(by_component) == 5
    assert [r['k'] for r in vs_k] == ['1', '2']

    # a run's losses, computed anew in float64 from the dumped tokens and best.pt
    dumped = np.load('out/small-k2-s0/xe_windows.npz')
    best = torch.load('out/small-k2-s0/best.pt', weights_only=True)
    w = torch.from_numpy(dumped['tokens']).long()
    idx = torch.cat((torch.full((len(w), 1), read_meta('small')['bos_id']), w[:, :-1]), dim=1)

    class Net:
        def state_dict(self):
            return best['model'] | {  # a second layer that does nothing
                name.replace('h.0.', 'h.1.'): torch.zeros_like(x)
                for name, x in best['model'].items() if 'h.0.' in name}
    np.testing.assert_allclose(direct_losses(Net(), idx, w), dumped['xe'], atol=1e-4)

    # and the tables are means of them
    for i, name in enumerate(dumped['names']):
        of_c = dumped['component'] == i
        xe = dumped['xe'][of_c]
        row, = [r for r in by_component if (r['k'], r['component']) == ('2', name)]
        assert float(row['xe']) == pytest.approx(xe.mean(), abs=1e-5)
        assert float(row['perplexity']) == pytest.approx(np.exp(xe.mean()), rel=1e-5)
        facts = read_meta('small')['components'][name]['test']
        bits = xe.mean() / np.log(2) * facts['tokens'] / facts['bytes']
        assert float(row['bits_per_byte']) == pytest.approx(bits, rel=1e-5)
        assert int(row['n_windows']) == len(xe)
        assert float(row['ci_low']) < float(row['xe']) < float(row['ci_high'])
        single, = [r for r in by_component if (r['k'], r['component']) == ('1', name)]
        assert float(row['xe_k1']) == float(single['xe']) and float(single['delta_xe']) == 0
        assert float(row['delta_xe']) == pytest.approx(float(row['xe']) - float(single['xe']))
        at = [float(r['xe']) for r in by_position if (r['k'], r['component']) == ('2', name)]
        np.testing.assert_allclose(at, xe.mean(0), atol=1e-5)
        raw = np.fromfile(f'data/small/{name}/test.bin', dtype='<u2')
        windows = dumped['start'][of_c, None] + np.arange(16)
        assert np.array_equal(raw[windows], dumped['tokens'][of_c])
    two = [r for r in by_component if r['k'] == '2']
    assert float(vs_k[1]['xe']) == pytest.approx(np.mean([float(r['xe']) for r in two]))
    assert float(vs_k[1]['delta_xe']) == pytest.approx(np.mean([float(r['delta_xe']) for r in two]))
    for kind in ('xe_by_position', 'xe_vs_k'):
        assert os.path.getsize(f'results/{kind}.png') > 10000

    # curves.csv has the curve averaged over runs, in a band
    curves = rows('results/curves.csv')
    xe = [r for r in curves if (r['k'], r['quantity']) == ('2', 'xe')]
    at = np.array([[float(r['xe']) for r in by_position if (r['k'], r['position']) == ('2', str(t))]
                   for t in range(16)])
    np.testing.assert_allclose([float(r['mean']) for r in xe], at.mean(1))
    assert float(vs_k[1]['icl_score']) == pytest.approx(at.mean(1)[15] - at.mean(1)[0])
    assert all(float(r['band_low']) < float(r['mean']) < float(r['band_high']) for r in xe)

def test_runs_of_different_settings_are_not_averaged(small, trained):
    run('train.py', *TRAIN, '--k=2', '--max_iters=5', '--out_dir=out/other')
    run('eval_xe.py', '--runs=out/other,out/small-k2-s0', '--results_dir=results3')
    vs_k = rows('results3/xe_vs_k.csv')
    assert [r['n_runs'] for r in vs_k] == ['1', '1']
    assert {'max_iters=5' in r['setting'] for r in vs_k} == {True, False}

def test_runs_of_other_shares_are_other_settings(small, capsys, fails):
    def train(name, *args):
        run('train.py', *TRAIN, f'--out_dir=out/shares/{name}', '--token_budget=1600', *args)
    both = '--components=a,c'
    train('three', both, '--shares=3,1')
    with pytest.raises(SystemExit, match='^0$'):
        train('three', both, '--shares=0.75,0.25', '--init_from=auto')  # the same
    assert 'is done' in capsys.readouterr().out
    assert "shares='3,1', not '1,3'" in fails(
        'train.py', *TRAIN, both, '--out_dir=out/shares/three', '--token_budget=1600',
        '--shares=1,3', '--init_from=resume')
    train('third', both, '--shares=1,3')
    train('equal', both)
    train('alone-a', '--components=a')
    train('alone-c', '--components=c')
    for c, tokens in (('a', 1200), ('c', 400)):  # what 3 : 1 gives of 1,600, and no other mixture
        run('train.py', *TRAIN, f'--out_dir=out/shares/diluted-{c}', f'--components={c}',
            f'--token_budget={tokens}', '--max_iters=25')
    run('eval_xe.py', '--runs=out/shares/*', '--results_dir=results/shares')
    of_two = [row for row in rows('results/shares/xe_vs_k.csv') if row['k'] == '2']
    assert len(of_two) == 3 and {row['n_runs'] for row in of_two} == {'1'}
    by_run = {(row['run'], row['component']): row
              for row in rows('results/shares/xe_by_component.csv')}
    assert [by_run[name, 'a']['shares'] for name in ('three', 'third', 'equal')] == [
        '3,1', '1,3', '']
    assert all(by_run[name, 'a']['delta_xe'] for name in ('three', 'third', 'equal'))
    assert {row['run'] for row in rows('results/shares/decomposition.csv')
            if row['component'] == 'a' and row['dilution']} == {'three'}

def test_missing_specialists_are_named_by_their_command(small, trained, capsys):
    run('eval_xe.py', '--runs=out/small-k2-s0', '--results_dir=results4')
    assert "python sweep.py --parts_of='out/small-k2-s0'" in capsys.readouterr().out
    assert rows('results4/xe_vs_k.csv')[0]['delta_xe'] == ''

def test_losses_are_kept_until_the_checkpoint_changes(small, trained, monkeypatch):
    run('train.py', *TRAIN, '--k=2', '--max_iters=5', '--out_dir=out2/kept')
    seen = []
    for change in (None, None, 'out/small-k2-s0/ckpt.pt'):
        if change:
            shutil.copy(change, 'out2/kept/ckpt.pt')
        calls, load = [], torch.load
        monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: (  # mmap reads no weights
            kwargs['mmap'] or calls.append(1), load(*args, **kwargs))[1])
        run('eval_xe.py', '--runs=out2/kept', '--results_dir=results7')
        monkeypatch.undo()
        monkeypatch.chdir(small)
        seen.append((len(calls), rows('results7/xe_by_position.csv')))
    assert [n for n, _ in seen] == [1, 0, 1] and seen[0][1] == seen[1][1]
    run('eval_xe.py', '--runs=out/small-k2-s0', '--results_dir=results7')
    assert [r['xe'] for r in seen[2][1]] == [r['xe'] for r in rows('results7/xe_by_position.csv')]

def test_the_ambiguity_is_that_of_theory_and_of_shuffled_labels_none(tmp_path, monkeypatch):
    """Two coins that one toss or two tell apart: ln 2 nats a window; dealt at random, none."""
    monkeypatch.chdir(tmp_path)
    run('prepare.py', '--source=synthetic', '--dataset=s', '--processes=coins:2',
        '--documents_per_process=100', '--document_length=512')
    for shuffled, tag in itertools.product((False, True), (False, True)):
        run('train.py', '--dataset=s', '--candidates=', '--block_size=16', *MODEL, '--k=2',
            '--batch_size=32', '--max_iters=100', '--warmup_iters=5', '--learning_rate=1e-2',
            '--min_lr=1e-4', '--val_windows_per_component=64', f'--tag={tag}',
            f'--shuffle_components={shuffled}')
    run('eval_xe.py')
    ambiguity = {row['shuffle_components']: float(row['ambiguity'])
                 for row in rows('results/xe_vs_k.csv') if row['ambiguity']}
    assert ambiguity == {'False': pytest.approx(math.log(2) / 16, abs=0.004),
                         'True': pytest.approx(0, abs=0.004)}

def test_documents_that_begin_alike_are_documents(small, trained, tmp_path):
    """A licence, say, at the head of each: prepare.py has dropped what is there twice. A copy of a
    test document is planted in the data themselves.
    """
    shutil.copytree('data', tmp_path / 'data')
    specialist, = glob.glob('out/small-k1-s0-a-*')
    shutil.copytree(specialist, tmp_path / 'out/run')
    os.chdir(tmp_path)  # `small` goes back
    meta, raw = read_meta('small'), np.fromfile('data/small/a/test.bin', dtype='<u2')
    ends = np.load('data/small/a/test.idx.npy')
    long = next(i for i in range(len(ends) - 1) if ends[i + 1] - ends[i] >= 16)
    raw = np.append(raw, raw[ends[long]:ends[long + 1]]).astype('<u2')
    raw.tofile('data/small/a/test.bin')
    np.save('data/small/a/test.idx.npy', np.append(ends, len(raw)))
    meta['components']['a']['test'] |= {'docs': len(ends), 'tokens': len(raw),
                                        'sha256': file_hash('data/small/a/test.bin')}
    meta = sealed(meta)
    with open('data/small/meta.json', 'w') as f:
        json.dump(meta, f)
    saved = torch.load('out/run/ckpt.pt', weights_only=True)  # of these data
    saved['mix']['data'] = meta['seal']
    plain = {key: saved[key] for key in saved['sealed'] if key != 'seal'}
    tensors = {key: saved[key] for key in ('model', 'best', 'optimizer', 'rng')}
    write_checkpoint('out/run', 'ckpt.pt', plain, tensors)
    run('eval_xe.py')
    planted, = rows('results/xe_by_component.csv')
    os.chdir(small)
    run('eval_xe.py', f'--runs={specialist}', '--results_dir=results9')
    before, = rows('results9/xe_by_component.csv')
    assert int(planted['n_windows']) > int(before['n_windows'])
    assert int(planted['n_docs']) == int(before['n_docs']) + 1

def test_the_constant_control_keeps_tokens_per_component_and_steps(small):
    for k in (1, 2):
        run('train.py', *TRAIN, f'--k={k}', '--token_budget=800', '--constant_per_component=True',
            f'--out_dir=out2/constant{k}')
    records = [json.load(open(f'out2/constant{k}/mix.json')) for k in (1, 2)]
    assert [r['tokens'] for r in records] == [800, 1600]
    assert {c['tokens'] for r in records for c in r['of_each'].values()} == {800}
    configs = [json.load(open(f'out2/constant{k}/config.json')) for k in (1, 2)]
    assert [config['max_iters'] for config in configs] == [2 * 50 // 8] * 2

def test_a_component_outside_the_mixture_is_marked(small, trained, capsys):
    run('eval_xe.py', '--runs=out/small-k1-s0-a-*', '--eval_components=a,c',
        '--results_dir=results5')
    marks = {r['component']: r['in_training'] for r in rows('results5/xe_by_component.csv')}
    assert marks == {'a': 'True', 'c': 'False'}
    run('eval_xe.py', '--runs=out/small-k1-s0-a-*', '--eval_components=all',
        '--results_dir=results5')
    assert [r['component'] for r in rows('results5/xe_by_component.csv')] == ['a', 'b.B', 'c']
    capsys.readouterr()
    run('eval_xe.py', '--runs=out/small-k1-s0-a-*', '--eval_components=c', '--results_dir=results5')
    row, = rows('results5/xe_by_component.csv')  # no mean over the run's own: the table has this
    assert f'{row["run"]} on c: XE {float(row["xe"]):.4f}' in capsys.readouterr().out

def test_a_run_without_the_snapshot_asked_for_is_left_out(small, trained, capsys):
    run('train.py', *TRAIN, '--k=1', '--max_iters=2', '--snapshots=True', '--out_dir=out2/snap')
    run('eval_xe.py', '--runs=out2/snap,out/small-k2-s0', '--ckpt=step-000002',
        '--results_dir=results6')
    assert 'left out, without step-000002.pt: out/small-k2-s0' in capsys.readouterr().out
    assert {r['run'] for r in rows('results6/xe_by_component.csv')} == {'snap'}

def test_a_mixture_is_shown_and_continued(small, trained, capsys):
    run('sample_mix.py', *SMALL, '--k=2', '--from_run=out/small-k2-s0', '--num_samples=2')
    text = capsys.readouterr().out
    record = draw_mix(read_meta('small'), 16, k=2)[1]
    assert all(f'{name} ' in text for name in record['components'])
    assert f'{record["windows"]:,} windows' in text
    assert text.count('continues its first 8 tokens') == 2
