"""Settings: defaults, files, command line, and what happens to a typo."""
import ast
import glob
import os

import pytest
from conftest import ROOT, run

from configurator import SCRIPTS, read_settings


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_scripts_agree_on_the_defaults_they_share():
    seen = {}
    for script in SCRIPTS:
        for key, (default, comment) in read_settings(os.path.join(ROOT, script)).items():
            assert comment, f'{script}: {key} has no comment'
            if key not in ('batch_size', 'overwrite', 'seed'):  # these mean another thing in each
                assert seen.setdefault(key, default) == default, key
            assert type(seen.setdefault(key, default)) is type(default), key


def test_every_config_file_sets_known_keys():
    known = {key for script in SCRIPTS for key in read_settings(os.path.join(ROOT, script))}
    for path in glob.glob(os.path.join(ROOT, 'config', '[!_]*.py')):
        with open(path) as f:
            names = {node.targets[0].id for node in ast.parse(f.read()).body if isinstance(node, ast.Assign)}
        assert names and names <= known, path


def test_files_then_command_line_each_overriding_the_last(small, tmp_path, capsys):
    (tmp_path / 'one.py').write_text("k = 3\nblock_size = 2 * 8\ncandidates = ''\nnum_samples = 0\nn_layer = 9\n_half = 8\nimport math\nmin_lr = sum(math.sqrt(k) for _ in range(k))\n")
    (tmp_path / 'two.py').write_text('k = 2\ntemperature = block_size\n')
    settings = run('sample_mix.py', f'{tmp_path}/one.py', f'{tmp_path}/two.py', '--dataset=small', '--mix_seed=5')
    assert {key: settings[key] for key in ('k', 'block_size', 'dataset', 'mix_seed')} == {
        'k': 2, 'block_size': 16, 'dataset': 'small', 'mix_seed': 5}
    assert settings['temperature'] == 16.0 and type(settings['temperature']) is float
    assert 'n_layer' not in settings


def test_readme_lists_every_key_with_its_default():
    with open(os.path.join(ROOT, 'README.md'), encoding='utf-8') as f:
        table = [line for line in f if line.startswith('| ')]
    for script in SCRIPTS:
        for key, (default, _) in read_settings(os.path.join(ROOT, script)).items():
            assert any(line.startswith(f'| {key} |') and f'`{default!r}`' in line for line in table), f'{key}={default!r}'


@pytest.mark.parametrize('script', [*SCRIPTS, 'studies/forecast.py'])
def test_help_lists_every_key_with_its_comment(script, capsys):
    with pytest.raises(SystemExit) as e:
        run(script, '--help')
    text = capsys.readouterr().out
    assert e.value.code == 0
    for key, (default, comment) in read_settings(os.path.join(ROOT, script)).items():
        assert f'--{key}={default!r}' in text and comment in text


@pytest.mark.parametrize('script, args, says', [
    ('train.py', ['--batchsize=3'], 'unknown key --batchsize; did you mean --batch_size?'),
    ('train.py', ['--windows_per_component=3'], 'it belongs to eval_xe.py'),
    ('train.py', ['--batch_size=3.5'], 'expected a value of type int, such as the default 512'),
    ('train.py', ['--batch_size=many'], 'expected a value of type int'),
    ('train.py', ['--batch_size=True'], 'expected a value of type int'),
    ('train.py', ['--tag=1'], 'expected True or False'),
    ('train.py', ['--learning_rate=fast'], 'expected a value of type float'),
    ('train.py', ['--compile'], '--compile needs a value'),
    ('train.py', ['batch_size=3'], 'write --key=value'),
    ('train.py', ['config/k9.py'], 'no config file config/k9.py; there are'),
    ('train.py', ['typo.py'], 'typo.py: unknown key batchsize; did you mean batch_size?'),
    ('train.py', ['wrong.py'], "wrong.py: k='two': expected a value of type int"),
    ('train.py', ['broken.py'], 'broken.py, line 2: SyntaxError'),
    ('train.py', ['raises.py'], "raises.py, line 2: NameError: name 'nothing' is not defined"),
    ('eval_xe.py', ['--split=dev'], 'choose train, val or test'),
    ('eval_xe.py', ['--ckpt=newest'], 'choose best or last'),
    ('eval_xe.py', [], 'no run there'),
    ('eval_xe.py', ['--device=tpu'], 'this machine has'),
    ('prepare.py', ['--source=.', '--tokenizer=none.json'], 'cannot be loaded'),
    ('prepare.py', ['--dataset=..', '--overwrite=True'], 'a name must do as a folder'),
    ('prepare.py', ['--dataset=', '--overwrite=True'], 'a name must do as a folder'),
    ('train.py', ['--dropout=1.5'], '--dropout=1.5: at least 0 and below 1'),
    ('train.py', ['--learning_rate=-1'], '--learning_rate=-1.0: at least 0'),
    ('train.py', ['--val_windows_per_component=-1'], 'at least 0'),
    ('eval_xe.py', ['--batch_size=0'], '--batch_size must be at least 1'),
    ('sample_mix.py', [], 'run python prepare.py --dataset=arxiv first'),
    ('sample_mix.py', ['--top_k=0.5'], 'expected a value of type int'),
    ('sample_mix.py', ['--from_run=nowhere'], 'run python prepare.py --dataset=arxiv first'),
    ('prepare.py', ['--source=nowhere.csv'], 'nowhere.csv'),
    ('prepare.py', ['--source=synthetic', '--processes=dice:2'], 'dice'),
    ('prepare.py', ['--vocab_size=70000', '--source=.'], '--vocab_size=70000'),
    ('train.py', ['--beta2=1.0'], '--beta2=1.0: at least 0 and below 1'),
    ('train.py', ['--n_head=3'], '--n_embd=256 does not divide into --n_head=3 heads'),
    ('eval_xe.py', ['--runs=out/a,out/b'], 'no run there'),
    ('train.py', [], 'run python prepare.py --dataset=arxiv first'),
])
def test_a_mistake_ends_in_one_line(here, fails, script, args, says):
    (here / 'typo.py').write_text('batchsize = 3\n')
    (here / 'wrong.py').write_text('k = "two"\n')
    (here / 'broken.py').write_text('k = 2\nk = = 3\n')
    (here / 'raises.py').write_text('k = 2\nmin_lr = nothing\n')
    before = sorted(os.listdir())
    assert says in fails(script, *args)
    assert sorted(os.listdir()) == before
