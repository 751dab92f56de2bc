"""The mixture: exact budgets, nested sets, every window once an epoch, none across documents."""
import os
import shutil
import types

import numpy as np
import pytest
import torch
from conftest import SMALL

import sample_mix
from checkpoint import name_components, run_name
from runs import parts_of
from sample_mix import (
    data_table,
    draw_batches,
    draw_epoch,
    draw_mix,
    eval_windows,
    gather_windows,
    held_windows,
    list_documents,
    read_meta,
    read_tokens,
)

T = 16

def test_budget_is_exact_and_the_same_for_every_k(small):
    records = [draw_mix(read_meta('small'), T, k=k)[1] for k in (1, 2, 3)]
    assert len({r['windows'] for r in records}) == 1  # a multiple of lcm(1, 2, 3)
    assert records[0]['windows'] % 6 == 0
    for record in records:
        assert record['windows'] * T == record['tokens'] == record['token_budget']
        assert {facts['windows'] for facts in record['of_each'].values()} == {
            record['windows'] // record['k']}

def test_odd_budget_loses_fewer_than_k_windows(small):
    for k in (1, 2, 3):
        record = draw_mix(read_meta('small'), T, k=k, token_budget=100 * T + 5)[1]
        assert record['windows'] == 100 // k * k

def test_shares_are_exact_and_prefixes_of_one_order(small):
    def given(**keys):
        mix, record = draw_mix(read_meta('small'), T, components='a,c', **keys)
        tokens = np.repeat(mix['component'], mix['windows'] * T + mix['slack'])
        return record, [mix['tokens'][tokens == i] for i in (0, 1)]
    equal, (a, c) = given(token_budget=80 * T)
    record, (more, less) = given(token_budget=80 * T, shares='3,1')
    assert [f['windows'] for f in record['of_each'].values()] == [60, 20]
    assert (record['windows'], record['shares'], equal['shares']) == (80, '3,1', '')
    assert np.array_equal(more[:len(a) - T], a[:-T])
    assert np.array_equal(less[:-T], c[:len(less) - T])
    # floor(h B / T) of each, in whole numbers: a float's .7 x 80 would be 55.99..
    record, _ = given(token_budget=80 * T + 7, shares='0.7,.3')
    assert [f['windows'] for f in record['of_each'].values()] == [56, 24]
    assert record['shares'] == '7,3' and given(token_budget=800, shares='.5,.5')[0] == given(
        token_budget=800)[0]

def test_a_mistake_in_shares_is_one_line(small, fails):
    keys = '--dataset=small', '--block_size=16', '--token_budget=1600', '--components=a,c'
    for shares in ('3', '3,1,1', '3,0', '-1,1', '3;1', '1/0,1', 'nan,1'):
        assert 'for each of the 2 components, such as 3,1' in fails(
            'sample_mix.py', *keys, f'--shares={shares}')
    assert 'all give token_budget' in fails('sample_mix.py', *keys, '--shares=3,1',
                                            '--constant_per_component=True')
    line = fails('sample_mix.py', *keys[:2], '--components=a,c', '--shares=3,1',
                 '--token_budget=10_000_000')
    largest = int(line.split()[-1])
    record = draw_mix(read_meta('small'), T, components='a,c', shares='3,1', token_budget=largest)
    assert largest * 3 // 4 - record[1]['of_each']['a']['tokens'] < T

def test_no_component_gives_more_windows_than_it_holds(small, fails):
    """As shares are rounded to windows, the first to lack one need not be the component whose
    tokens allow the smallest budget."""
    meta = read_meta('small')
    a, c = ((list_documents(meta, name, 'train')['length'] // T).sum() for name in ('a', 'c'))
    budgets = range((a + c) * T - 3 * T, (a + c) * T + 3 * T)
    for shares in (f'{a},{c - 1}', f'{a - 1},{c}', f'{a},{c}'):
        for budget in budgets:
            try:
                _, record = draw_mix(meta, T, components='a,c', shares=shares, token_budget=budget)
            except SystemExit:
                continue
            given = record['of_each']
            assert given['a']['windows'] <= a and given['c']['windows'] <= c

def test_automatic_budget_is_what_the_smallest_candidate_holds(small):
    meta = read_meta('small')
    held = min((list_documents(meta, name, 'train')['length'] // T).sum()
               for name in meta['components'])
    budget = draw_mix(read_meta('small'), T, k=3)[1]['token_budget']
    assert 0 <= held - budget // T < 0.01 * held or budget == held * T

def test_components_and_documents_are_nested_in_k(small):
    mixes = {k: draw_mix(read_meta('small'), T, k=k, token_budget=90 * T) for k in (1, 2, 3)}
    for k in (1, 2):
        (mix, record), (wider, wide) = mixes[k], mixes[k + 1]
        assert wide['components'][:k] == record['components']
        for i in range(k):  # what a component gives at K + 1 is a prefix of what it gives at K
            more, less = (m['tokens'][np.repeat(m['component'], m['windows'] * T + m['slack']) == i]
                          for m in (mix, wider))
            assert T < len(less) < len(more) and np.array_equal(less, more[:len(less)])

def test_mix_seed_moves_the_documents(small):
    meta = read_meta('small')
    a, b, c = (draw_mix(meta, T, components='a', token_budget=50 * T, mix_seed=s)[0]['tokens']
               for s in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a[:40], c[:40])

def test_each_window_once_an_epoch_and_none_across_documents(small):
    mix, record = draw_mix(read_meta('small'), T, k=2)
    length = mix['windows'] * T + mix['slack']
    document = np.repeat(np.arange(len(length)), length)  # of each token
    phases = set()
    for epoch in range(30):
        start, component = draw_epoch(mix, T, seed=0, epoch=epoch)
        assert len(start) == record['windows']
        assert np.array_equal(document[start], document[start + T - 1])
        assert np.array_equal(component, mix['component'][document[start]])
        read = np.bincount((start[:, None] + np.arange(T)).ravel(), minlength=len(document))
        assert read.max() == 1  # no token twice in an epoch
        phases.update(start[document[start] == 0] - mix['start'][0])
    assert {p % T for p in phases} == set(range(min(T, mix['slack'][0] + 1)))  # every phase occurs

def test_every_token_can_be_read(small):
    mix, _ = draw_mix(read_meta('small'), T, k=1)
    read = np.zeros(len(mix['tokens']), dtype=bool)
    for epoch in range(300):
        read[draw_epoch(mix, T, 0, epoch)[0][:, None] + np.arange(T)] = True
    assert read.all()

def test_batches_are_the_epochs_end_to_end_and_skip_goes_on_exactly(small):
    mix, record = draw_mix(read_meta('small'), T, k=2)
    n = record['windows']
    stream = draw_batches(mix, T, batch=7, seed=3)
    read = torch.cat([next(stream) for _ in range(2 * n // 7 + 1)], dim=1)
    expected = np.concatenate([np.stack(draw_epoch(mix, T, 3, e)) for e in (0, 1, 2)], axis=1)
    assert np.array_equal(read.numpy(), expected[:, :read.shape[1]])
    for skip in (35, n + 3):  # in the first epoch, in the second
        batch = next(draw_batches(mix, T, batch=7, seed=3, skip=skip))
        assert np.array_equal(batch, expected[:, skip:skip + 7])
    other_seed = np.stack(draw_epoch(mix, T, 4, 0))
    assert not np.array_equal(expected[:, :n], other_seed)
    assert 0.3 < expected[1, :n // 2].mean() < 0.7  # the two components are mixed all along

def test_windows_are_gathered_alike_on_every_device():
    numbers = np.random.default_rng(0).integers(0, 2**16, 1000, dtype=np.uint16)
    tokens, start = torch.from_numpy(numbers.view(np.int16)), torch.tensor([0, 984, 17, 17])

    class OnMPS(torch.Tensor):  # on the CPU, and says that it is not
        device = types.SimpleNamespace(type='mps')
    expected = torch.stack([torch.from_numpy(numbers[s:s + T]).int() for s in start])
    for x in (tokens, tokens.as_subclass(OnMPS)):
        windows = gather_windows(x, start, T)
        assert windows.dtype == torch.int32 and torch.equal(windows, expected)

def test_evaluation_takes_a_window_of_every_document_first(small):
    meta = read_meta('small')
    docs = list_documents(meta, 'a', 'test')
    long_enough = int((docs['length'] >= T).sum())
    windows = eval_windows(meta, 'a', 'test', T)
    assert len(windows['doc']) == (docs['length'] // T).sum()
    capped = eval_windows(meta, 'a', 'test', T, cap=long_enough)
    assert len(set(capped['doc'])) == long_enough
    assert np.array_equal(capped['start'], docs['start'][capped['doc']])
    assert np.array_equal(capped['tokens'], windows['tokens'][:long_enough])
    raw = np.fromfile('data/small/a/test.bin', dtype='<u2')
    assert np.array_equal(raw[windows['start'][:, None] + np.arange(T)], windows['tokens'])

def test_shuffled_components_are_a_deal_of_all_documents(small):
    meta = read_meta('small')
    for split in ('train', 'test'):
        dealt = [list_documents(meta, name, split, shuffle_components=True)
                 for name in meta['components']]
        docs = np.concatenate(dealt)
        assert len(np.unique(docs[['source', 'doc']])) == len(docs) == sum(
            facts[split]['docs'] for facts in meta['components'].values())
        assert all(len(np.unique(d['source'])) == 3 for d in dealt)
    docs = list_documents(meta, 'a', 'train', shuffle_components=True)[:3]
    files = [np.fromfile(f'data/small/{name}/train.bin', dtype='<u2')
             for name in sorted(meta['components'])]
    expected = [files[d['source']][d['start']:d['start'] + d['length']] for d in docs]
    tokens = read_tokens(meta, 'train', docs)
    assert tokens.dtype == np.uint16 and np.array_equal(tokens, np.concatenate(expected))

@pytest.mark.parametrize('settings, says', [
    (dict(k=0), '--k=0: at least 1, at most 3'),
    (dict(k=4), '--k=4: at least 1, at most 3 (the candidates: a,b.B,c)'),
    (dict(candidates='a'), '--k=2: at least 1, at most 1 (the candidates: a)'),
    (dict(components='a,zz'), "component 'zz' is not in data/small; it has a,b.B,c"),
    (dict(components='a,a'), 'named twice'),
    (dict(token_budget=T), 'at least 32'),
    (dict(block_size=5000), 'is that long, the longest has'),
    (dict(block_size=1), 'at least 2 tokens'),
])
def test_mistakes_end_in_one_line(small, capsys, settings, says):
    with pytest.raises(SystemExit) as e:
        draw_mix(read_meta('small'), **{'block_size': T, **settings})
    assert e.value.code == 2 and says in capsys.readouterr().err

def test_too_large_a_budget_names_the_largest_that_works(small, capsys):
    with pytest.raises(SystemExit):
        draw_mix(read_meta('small'), T, k=2, token_budget=10**6)
    largest = int(capsys.readouterr().err.split()[-1])
    assert draw_mix(read_meta('small'), T, k=2, token_budget=largest)[1]['tokens'] == largest
    with pytest.raises(SystemExit):
        draw_mix(read_meta('small'), T, k=2, token_budget=largest + 2 * T)

def test_named_components_need_no_other_candidates(small, monkeypatch):
    """Those that are there set the automatic budget alone."""
    looked_up, look_up = [], sample_mix.list_documents
    monkeypatch.setattr(sample_mix, 'list_documents', lambda meta, name, *args: (
        looked_up.append(name), look_up(meta, name, *args))[1])
    for token_budget, names in ((0, ['a', 'b.B']), (10 * T, ['a'])):
        records = []
        for candidates in ('a,b.B,zz', 'a,b.B'):
            looked_up.clear()
            records.append(draw_mix(read_meta('small'), T, components='a', candidates=candidates,
                                    token_budget=token_budget)[1])
            assert looked_up == names
        assert records[0] == records[1]
    with pytest.raises(SystemExit):
        draw_mix(read_meta('small'), T, k=2, candidates='a,b.B,zz')

@pytest.mark.parametrize('error, says', [
    (PermissionError(13, 'Permission denied', 'x.npy'), 'x.npy: Permission denied'),
    (EOFError('No data left'), 'is not what meta.json says it is: prepare the data set again')])
def test_what_cannot_be_read_is_told_from_what_is_damaged(small, monkeypatch, fails, error, says):
    def fail_to_load(path):
        raise error
    monkeypatch.setattr(np, 'load', fail_to_load)
    assert says in fails('sample_mix.py', *SMALL)

def test_a_missing_data_set_is_named_with_those_there_and_what_makes_it(
        prepared, tmp_path, monkeypatch, fails):
    shutil.copytree(f'{prepared}/data/small', tmp_path / 'data' / 'small')  # and no other is there
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text("dataset = 'smal'\nvocab_size = 300\nn_layer = 1\n")
    for script in ('sample_mix.py', 'sweep.py'):
        assert fails(script, 'mine.py', '--token_budget=800', '--candidates=') == (
            f'{script}: data/smal is not a prepared data set (data/ has small; did you mean'
            ' small?): run python prepare.py first, with the same config files (looked in'
            f' {os.getcwd()})')
    shutil.rmtree('data')
    assert 'a prepared data set (data/ has none): run python' in fails('sample_mix.py', 'mine.py')

def test_the_table_names_the_largest_budgets(small):
    meta = read_meta('small')
    held = sorted(held_windows(list_documents(meta, name, 'train'), T)
                  for name in meta['components'])
    lines = data_table(meta, T)
    start = lines.index('largest --token_budget, in tokens (whole windows of 16):')
    for k, line in enumerate(lines[start + 2:start + 5], 1):
        assert [int(word.replace(',', '')) for word in line.split()] == [
            k, k * held[0] * T, k * held[-k] * T]

# ---- the parts of a run

def settings_of(k=2, token_budget=100 * T + 5, **others):
    """The settings of a run M on k components, and its mix.json."""
    mixture = dict(dataset='small', block_size=T, token_budget=token_budget, mix_seed=0,
                   shuffle_components=False, constant_per_component=False) | others
    meta = read_meta(mixture['dataset'])
    drawn = {key: mixture[key] for key in mixture if key != 'dataset'}
    return mixture | {'seed': 3, 'k': k}, draw_mix(meta, **drawn, k=k)[1]

def test_a_mixture_has_a_specialist_and_a_diluted_of_each_component_and_a_tagged(small):
    settings, record = settings_of(k=3)
    a, b, c = record['components']
    parts = parts_of('out/small-k3-s3', record, settings)
    budgets = {part: keys['token_budget'] for part, (_, keys) in parts.items()}
    assert budgets == {('tagged', ''): 1605} | {
        (part, x): tokens for part, tokens in (('diluted', 33 * T), ('specialist', 1605))
        for x in record['components']}
    assert parts['tagged', ''] == ('out/small-k3-s3-tag', {
        'components': f'{a},{b},{c}', 'token_budget': 1605, 'shares': '',
        'constant_per_component': False, 'tag': True})
    assert parts['diluted', a] == (f'out/small-k1-s3-{a}-528tokens', {
        'components': a, 'token_budget': 528, 'shares': '', 'constant_per_component': False,
        'tag': False})
    for part, (_, keys) in parts.items():  # trained on M's very documents, or as many tokens as M
        if part[0] == 'diluted':
            alone = draw_mix(read_meta('small'), T, components=part[1],
                             token_budget=keys['token_budget'])[1]
            assert alone['of_each'] == {part[1]: record['of_each'][part[1]]}

def test_parts_of_unequal_shares_have_what_a_component_gives(small):
    settings, record = settings_of(components='a,c', shares='1,3')
    parts = parts_of('out/small-k2-s3-a+c-shares1+3', record, settings)
    assert [parts['diluted', c][1]['token_budget'] for c in 'ac'] == [25 * T, 75 * T]
    assert parts['specialist', 'a'][1]['shares'] == parts['diluted', 'a'][1]['shares'] == ''
    assert parts['tagged', ''][1]['shares'] == '1,3'
    assert parts['tagged', ''][0] == 'out/small-k2-s3-tag-a+c-shares1+3'

def test_a_constant_mixture_has_parts_of_its_own_budgets(small):
    settings, record = settings_of(constant_per_component=True)
    parts = parts_of('out/small-k2-s3-constant', record, settings)
    a, _ = record['components']
    assert parts['diluted', a][1]['token_budget'] == record['of_each'][a]['tokens'] == 100 * T
    assert parts['specialist', a][1]['token_budget'] == 200 * T
    assert parts['specialist', a][1]['constant_per_component'] is False
    assert parts['tagged', ''][1]['constant_per_component'] is True
    assert parts['tagged', ''][0] == 'out/small-k2-s3-constant-tag'

def test_the_parts_of_a_run_with_a_name_of_its_own_are_called_after_it(small):
    settings, record = settings_of()
    a, b = record['components']
    for folder in ('far/away/mine', 'far/away/mine/'):
        parts = parts_of(folder, record, settings)
        assert parts['tagged', ''][0] == 'far/away/mine-tag'
        assert parts['specialist', a][0] == f'far/away/mine-{a}-1600tokens'
    parts = parts_of(f'out/small-k2-s3-{a}+{b}', record, settings)  # --components={a},{b}
    assert parts['tagged', ''][0] == f'out/small-k2-s3-tag-{a}+{b}'
    assert parts['specialist', a][0] == f'out/small-k1-s3-{a}-1600tokens'

def test_a_specialist_has_no_parts_and_runs_with_tags_have_specialists(small):
    settings, record = settings_of(k=1)
    assert parts_of('out/small-k1-s3', record, settings) == {}
    c, = record['components']
    assert parts_of('out/small-k1-s3-tag', record, settings | {'tag': True}) == {
        ('specialist', c): (f'out/small-k1-s3-{c}-1600tokens', {
            'components': c, 'token_budget': 1605, 'shares': '', 'constant_per_component': False,
            'tag': False})}
    settings, record = settings_of()
    tagged = parts_of('out/small-k2-s3-tag', record, settings | {'tag': True})
    mixture = parts_of('out/small-k2-s3', record, settings)
    assert tagged == {part: run for part, run in mixture.items() if part[0] == 'specialist'}

def test_names_of_runs():
    assert run_name('small', 2, 0, 0) == 'small-k2-s0'
    only = name_components(['a'], 800)
    assert run_name('small', 1, 0, 5, only=only) == 'small-k1-s0-m5-a-800tokens'
    only = name_components(['a', 'c'], 800)
    assert run_name('small', 2, 1, 0, True, True, True, only) == (
        'small-k2-s1-shuffled-constant-tag-a+c')
