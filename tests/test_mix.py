"""The mixture: exact budgets, nested sets, every window once an epoch, none across documents."""
import numpy as np
import pytest
import torch

from sample_mix import (draw_batches, draw_epoch, draw_mix, eval_windows, list_documents, read_meta, read_tokens)

T = 16


def windows(mix, start):
    """The windows as a set of tuples of tokens."""
    return [tuple(mix['tokens'][s:s + T].tolist()) for s in start]


def test_budget_is_exact_and_the_same_for_every_k(small):
    records = [draw_mix('small', T, k=k)[1] for k in (1, 2, 3)]
    assert len({r['windows'] for r in records}) == 1  # a multiple of lcm(1, 2, 3)
    assert records[0]['windows'] % 6 == 0
    for record in records:
        assert record['windows'] * T == record['tokens'] == record['token_budget']
        assert {of['windows'] for of in record['of_each'].values()} == {record['windows'] // record['k']}


def test_odd_budget_loses_fewer_than_k_windows(small):
    for k in (1, 2, 3):
        record = draw_mix('small', T, k=k, token_budget=100 * T + 5)[1]
        assert record['windows'] == 100 // k * k


def test_automatic_budget_is_what_the_smallest_candidate_holds(small):
    meta = read_meta('small')
    held = min((list_documents(meta, name, 'train')['length'] // T).sum() for name in meta['components'])
    budget = draw_mix('small', T, k=3)[1]['token_budget']
    assert 0 <= held - budget // T < 0.01 * held or budget == held * T


def test_components_and_documents_are_nested_in_k(small):
    mixes = {k: draw_mix('small', T, k=k, token_budget=90 * T) for k in (1, 2, 3)}
    for k in (1, 2):
        (mix, record), (wider, wide) = mixes[k], mixes[k + 1]
        assert wide['components'][:k] == record['components']
        for i in range(k):  # what a component gives at the larger K is a prefix of what it gives at the smaller
            more, less = (m['tokens'][np.repeat(m['component'], m['windows'] * T + m['slack']) == i] for m in (mix, wider))
            assert T < len(less) < len(more) and np.array_equal(less, more[:len(less)])


def test_mix_seed_moves_the_documents_and_only_it(small):
    a, b, c = (draw_mix('small', T, components='a', token_budget=50 * T, mix_seed=s)[0]['tokens'] for s in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a[:40], c[:40])


def test_each_window_once_an_epoch_and_none_across_documents(small):
    mix, record = draw_mix('small', T, k=2)
    document = np.repeat(np.arange(len(mix['start'])), mix['windows'] * T + mix['slack'])  # of each token
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
    mix, _ = draw_mix('small', T, k=1)
    read = np.zeros(len(mix['tokens']), dtype=bool)
    for epoch in range(300):
        read[draw_epoch(mix, T, 0, epoch)[0][:, None] + np.arange(T)] = True
    assert read.all()


def test_batches_are_the_epochs_end_to_end_and_skip_goes_on_exactly(small):
    mix, record = draw_mix('small', T, k=2)
    n = record['windows']
    stream = draw_batches(mix, T, batch=7, seed=3)
    read = torch.cat([next(stream) for _ in range(2 * n // 7 + 1)], dim=1)
    expected = np.concatenate([np.stack(draw_epoch(mix, T, 3, e)) for e in (0, 1, 2)], axis=1)
    assert np.array_equal(read.numpy(), expected[:, :read.shape[1]])
    for skip in (35, n + 3):  # in the first epoch, in the second
        assert np.array_equal(next(draw_batches(mix, T, batch=7, seed=3, skip=skip)), expected[:, skip:skip + 7])
    assert not np.array_equal(expected[:, :n], np.stack(draw_epoch(mix, T, 4, 0)))  # another seed, another order
    assert 0.3 < expected[1, :n // 2].mean() < 0.7  # the two components are mixed all along


def test_evaluation_takes_a_window_of_every_document_first(small):
    meta = read_meta('small')
    docs = list_documents(meta, 'a', 'test')
    long_enough = int((docs['length'] >= T).sum())
    every = eval_windows(meta, 'a', 'test', T)
    assert len(every['doc']) == (docs['length'] // T).sum()
    capped = eval_windows(meta, 'a', 'test', T, cap=long_enough)
    assert len(set(capped['doc'])) == long_enough and set(capped['start'] - docs['start'][capped['doc']]) == {0}
    assert np.array_equal(capped['tokens'], every['tokens'][:long_enough])
    raw = np.fromfile('data/small/a/test.bin', dtype='<u2')
    assert np.array_equal(raw[every['start'][:, None] + np.arange(T)], every['tokens'])


def test_shuffled_components_are_a_deal_of_all_documents(small):
    meta = read_meta('small')
    for split in ('train', 'test'):
        dealt = [list_documents(meta, name, split, shuffle_components=True) for name in meta['components']]
        everyone = np.concatenate(dealt)
        assert len(np.unique(everyone[['source', 'doc']])) == len(everyone) == sum(
            facts[split]['docs'] for facts in meta['components'].values())
        assert all(len(np.unique(d['source'])) == 3 for d in dealt)
    docs = list_documents(meta, 'a', 'train', shuffle_components=True)[:3]
    expected = [np.fromfile(f'data/small/{sorted(meta["components"])[d["source"]]}/train.bin', dtype='<u2')
                [d['start']:d['start'] + d['length']] for d in docs]
    assert np.array_equal(read_tokens(meta, 'train', docs), np.concatenate(expected))


@pytest.mark.parametrize('settings, says', [
    (dict(k=0), 'choose 1 to 3'),
    (dict(k=4), 'there are 3 candidates (a,b.B,c)'),
    (dict(components='a,zz'), "component 'zz' is not in data/small; it has a,b.B,c"),
    (dict(components='a,a'), 'named twice'),
    (dict(token_budget=T), 'at least 32'),
    (dict(block_size=5000), 'is that long, the longest has'),
    (dict(block_size=1), 'at least 2 tokens'),
    (dict(dataset='nowhere'), 'run python prepare.py --dataset=nowhere first'),
])
def test_mistakes_end_in_one_line(small, capsys, settings, says):
    with pytest.raises(SystemExit) as e:
        draw_mix(**{'dataset': 'small', 'block_size': T, **settings})
    assert e.value.code == 2 and says in capsys.readouterr().err


def test_too_large_a_budget_names_the_largest_that_works(small, capsys):
    with pytest.raises(SystemExit):
        draw_mix('small', T, k=2, token_budget=10**6)
    largest = int(capsys.readouterr().err.split()[-1])
    assert draw_mix('small', T, k=2, token_budget=largest)[1]['tokens'] == largest
    with pytest.raises(SystemExit):
        draw_mix('small', T, k=2, token_budget=largest + 2 * T)
