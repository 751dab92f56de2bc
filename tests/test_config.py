"""Settings: defaults, files, command line, and what happens to a typo."""
import ast
import glob
import json
import os
import shutil

import pytest
from conftest import ROOT, TRAIN, run

import configurator
from checkpoint import read_checkpoint
from configurator import SCRIPTS, code_of, read_settings

@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path

def test_each_default_stands_in_one_place():
    """But for keys that mean another thing in another script."""
    seen = {}
    for script in SCRIPTS:
        for key, (default, comment) in read_settings(os.path.join(ROOT, script)).items():
            assert comment, f'{script}: {key} has no comment'
            seen.setdefault(key, []).append(script)
    twice = {key for key, scripts in seen.items() if len(scripts) > 1}
    assert twice <= {'batch_size', 'overwrite', 'k', 'results_dir', 'device', 'dtype', 'compile',
                     'any_code', 'out_dir', 'components'}

@pytest.fixture
def edit(tmp_path, monkeypatch):
    """edit(script, old, new): changes a copy of the scripts; returns the path of that script's."""
    for path in glob.glob(os.path.join(ROOT, '*.py')):
        shutil.copy(path, tmp_path)
    shutil.copytree(os.path.join(ROOT, 'config'), tmp_path / 'config')
    monkeypatch.setattr(configurator, 'ROOT', str(tmp_path))

    def change(script, old, new):
        text = (tmp_path / script).read_text()
        assert text.count(old) == 1, (script, old)
        (tmp_path / script).write_text(text.replace(old, new))
        return str(tmp_path / script)
    return change

@pytest.mark.parametrize('line, key, value', [
    ('gradient_accumulation_steps = 5 * 8  # as in nanoGPT', 'gradient_accumulation_steps', 40),
    ('rate: float = 1 / 4  # annotated', 'rate', 0.25),
    ('a, b = 1, 2  # two at once', 'b', 2),
    ('width = 2**8\nwidth += 1', 'width', 257),
    ('betas = (0.9, 0.95)  # a tuple', 'betas', (0.9, 0.95)),
    ('import math\nroot = math.sqrt(4)  # of an import', 'root', 2.0),
])
def test_a_default_may_be_any_expression(edit, small, capsys, line, key, value):
    path = edit('train.py', 'bias = False ', f'{line}\nbias = False ')
    if key == 'gradient_accumulation_steps':
        edit('train.py', 'gradient_accumulation_steps = 1 ', '_ = 1 ')
    assert read_settings(path)[key][0] == value
    with pytest.raises(SystemExit):  # every script reads the others' keys
        run('sample_mix.py', '--help')
    with pytest.raises(SystemExit):
        run(path, '--help')
    assert f'--{key}={value!r}' in capsys.readouterr().out
    if key == 'rate':  # and a key of the user's is in the run's record
        run(path, *TRAIN, '--max_iters=1', '--out_dir=edited/run', '--overwrite=True', '--rate=4')
        assert json.load(open('edited/run/config.json'))['rate'] == 4.0

def test_a_new_key_does_not_lock_an_old_run_out_of_resume(edit, small, fails):
    args = [*TRAIN, '--lr_decay_iters=9', '--out_dir=edited/older']
    run('train.py', *args, '--max_iters=1', '--overwrite=True')
    path = edit('train.py', 'bias = False ', 'rope = False  # rotary positions\nbias = False ')
    run(path, *args, '--max_iters=2', '--init_from=resume')
    said = fails(path, *args, '--max_iters=3', '--init_from=resume', '--rope=True')
    assert 'was trained with rope=False, not True' in said
    said = fails('train.py', *args, '--max_iters=3', '--init_from=resume')  # which has it no more
    assert 'was trained with rope=False, not None' in said

def test_a_copy_of_the_loop_is_the_code_of_its_runs(edit, small):
    path = edit('train.py', 'optimizer.step()', 'optimizer.step(closure=None)')
    os.rename(path, path.replace('train.py', 'train_late.py'))
    shutil.copy(os.path.join(ROOT, 'train.py'), path)
    for script, is_changed in (('train_late.py', True), ('train.py', False)):
        run(path.replace('train.py', script), *TRAIN, '--max_iters=1', '--out_dir=edited/copy',
            '--overwrite=True')
        code, = read_checkpoint('edited/copy')['code']
        assert ('closure=None' in code['train.py']) == is_changed
    for script, n in (('train.py', 1), ('train_late.py', 2), ('train_late.py', 2)):
        steps = read_checkpoint('edited/copy')['iter_num'] + 1
        run(path.replace('train.py', script), *TRAIN, f'--max_iters={steps}',
            '--out_dir=edited/copy', '--init_from=resume')
        assert len(read_checkpoint('edited/copy')['code']) == n
    with open('edited/copy/log.csv') as f:
        assert f.read().count('by another train.py') == 1

def test_a_resume_by_another_model_is_refused_and_by_another_loop_recorded(edit, small, fails):
    args = [*TRAIN, '--lr_decay_iters=9', '--out_dir=edited/code', '--compile=False']
    run('train.py', *args, '--max_iters=1', '--overwrite=True')
    path = edit('train.py', 'optimizer.step()', 'optimizer.step(closure=None)')
    run(path, *args, '--max_iters=2', '--init_from=resume')
    first, last = read_checkpoint('edited/code')['code']
    assert first['model.py'] == last['model.py'] == open(f'{ROOT}/model.py').read()
    assert 'closure' not in first['train.py'] and last['train.py'] == open(path).read()
    log = open('edited/code/log.csv').read()
    assert 'resumed at step 1 by another train.py' in log
    edit('model.py', 'F.gelu(', 'F.silu(')
    said = fails(path, *args, '--max_iters=3', '--init_from=resume')
    assert 'edited/code was trained with another model.py (- return x + self.drop(' in said
    assert 'F.gelu(' in said and 'F.silu(' in said
    run(path, *args, '--max_iters=3', '--init_from=resume', '--any_code=True')
    assert ['F.silu(' in code['model.py'] for code in read_checkpoint('edited/code')['code']] == [
        False, False, True]

def test_the_code_of_a_script_is_its_code_alone(edit):
    def code():
        return code_of(open(path).read())
    path = edit('train.py', 'batch_size = 512 ', 'batch_size = 64 ')  # recorded by itself
    before = code_of(open(f'{ROOT}/train.py').read())
    edit('train.py', '# one step\n', '# one step of AdamW\n')
    edit('train.py', 'Trains one model', 'Trains a model')
    assert code() == before
    edit('train.py', 'iter_num == max_iters:', 'iter_num == max_iters + 1:')
    changed = code()
    edit('train.py', 'bias = False ', '_scale = 3\nbias = False ')  # no setting, so it is code
    private = code()
    edit('train.py', '_scale = 3', '_scale = 3\ndef half(x): return x / 2')  # nor is this
    assert len({before, changed, private, code()}) == 4

def test_a_default_that_is_no_plain_value_is_named(edit, fails):
    path = edit('train.py', 'bias = False ', 'kinds = {1, 2}\nbias = False ')
    assert 'kinds is no plain value' in fails(path)

def test_a_function_among_the_defaults_is_named(edit, fails):
    path = edit('train.py', 'bias = False ', 'import math\nact = math.tanh\nbias = False ')
    assert 'act is no plain value' in fails(path)

def test_every_config_file_sets_known_keys():
    known = {key for script in SCRIPTS for key in read_settings(os.path.join(ROOT, script))}
    for path in glob.glob(os.path.join(ROOT, 'config', '*.py')):
        with open(path) as f:
            names = {node.targets[0].id for node in ast.parse(f.read()).body
                     if isinstance(node, ast.Assign)}
        assert names and names <= known, path

def test_files_then_command_line_each_overriding_the_last(small, tmp_path, capsys):
    (tmp_path / 'one.py').write_text(
        "k = 3\nblock_size = 2 * 8\ncandidates = ''\nnum_samples = 0\nn_layer = 9\n_half = 8\n"
        'import math\nmin_lr = sum(math.sqrt(k) for _ in range(k))\n')
    (tmp_path / 'two.py').write_text('k = 2\ntemperature = block_size\n')
    settings = run('sample_mix.py', f'{tmp_path}/one.py', f'{tmp_path}/two.py', '--dataset=small',
                   '--mix_seed=5')
    assert {key: settings[key] for key in ('k', 'block_size', 'dataset', 'mix_seed')} == {
        'k': 2, 'block_size': 16, 'dataset': 'small', 'mix_seed': 5}
    assert settings['temperature'] == 16.0 and type(settings['temperature']) is float
    assert 'n_layer' not in settings

def test_a_pair_wins_wherever_it_stands_and_a_file_behind_it_reads_it(small, tmp_path):
    (tmp_path / 'one.py').write_text('k = 3\nmix_seed = k + seed\ntoken_budget = 10 * seed\n')
    settings = run('sample_mix.py', '--dataset=small', '--seed=7', '--k=2', f'{tmp_path}/one.py',
                   '--candidates=', '--block_size=16', '--token_budget=320')
    assert {key: settings[key] for key in ('k', 'mix_seed', 'token_budget')} == {
        'k': 2, 'mix_seed': 10, 'token_budget': 320}

@pytest.mark.parametrize('script', SCRIPTS)
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
    ('train.py', ['--batch_size=3.5'], 'expected int, such as 512'),
    ('train.py', ['--batch_size=many'], 'expected int'),
    ('train.py', ['--batch_size=True'], 'expected int'),
    ('train.py', ['--tag=1'], 'expected bool, such as False'),
    ('train.py', ['--learning_rate=fast'], 'expected float'),
    ('train.py', ['--compile'], '--compile needs a value behind an equals sign: --compile=True'),
    ('train.py', ['--k', '3'], '--k needs a value behind an equals sign: --k=2'),
    ('train.py', ['config/cpuu.py'], 'did you mean config/cpu.py?'),
    ('train.py', ['batch_size=3'], 'write --key=value'),
    ('train.py', ['config/k9.py'], 'no config file config/k9.py; did you mean'),
    ('train.py', ['typo.py'], 'typo.py: unknown key batchsize; did you mean batch_size?'),
    ('train.py', ['wrong.py'], "wrong.py: k='two': expected int"),
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
    ('sample_mix.py', [], 'run python prepare.py first'),
    ('sample_mix.py', ['--top_k=0.5'], 'expected int'),
    ('sample_mix.py', ['--from_run=nowhere'], 'run python prepare.py first'),
    ('prepare.py', ['--source=nowhere.csv'], 'nowhere.csv'),
    ('prepare.py', ['--source=synthetic', '--processes=dice:2'], 'dice'),
    ('prepare.py', ['--vocab_size=70000', '--source=.'], '--vocab_size=70000'),
    ('train.py', ['--beta2=1.0'], '--beta2=1.0: at least 0 and below 1'),
    ('train.py', ['--n_head=3'], '--n_embd=256 does not divide into --n_head=3 heads'),
    ('eval_xe.py', ['--runs=out/a,out/b'], 'no run there'),
    ('train.py', [], 'run python prepare.py first'),
    ('train.py', ['--learning_rate=1e999'], '--learning_rate=inf: expected a finite number'),
    ('train.py', [f'--seed={10**20}'], 'expected a finite number, whole ones below 2^63'),
])
def test_a_mistake_ends_in_one_line(here, fails, script, args, says):
    (here / 'typo.py').write_text('batchsize = 3\n')
    (here / 'wrong.py').write_text('k = "two"\n')
    (here / 'broken.py').write_text('k = 2\nk = = 3\n')
    (here / 'raises.py').write_text('k = 2\nmin_lr = nothing\n')
    before = sorted(os.listdir())
    assert says in fails(script, *args)
    assert sorted(os.listdir()) == before

@pytest.mark.parametrize('script, args', [
    ('train.py', ['--dataset=there']), ('eval_xe.py', []), ('plot_xe.py', [])])
def test_the_folder_that_was_looked_in_is_named(here, tmp_path, monkeypatch, fails, script, args):
    project = tmp_path / 'project'
    for path in glob.glob(os.path.join(ROOT, '*.py')):
        os.makedirs(project, exist_ok=True)
        shutil.copy(path, project)
    monkeypatch.setattr(configurator, 'ROOT', str(project))
    assert f'(looked in {here})' in (said := fails(script, *args)) and 'cd ' not in said
    for name in ('data/there', 'out', 'results'):
        os.makedirs(project / name)
    (project / 'results/curves.csv').write_text('')
    assert f' is there: cd {project} first)' in fails(script, *args)

