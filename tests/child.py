"""
Runs a script in a process of its own that can be killed. It is forked from one that has imported
torch already, which saves two seconds each time, and nothing of the project.
"""
import ctypes
import multiprocessing
import os
import resource
import runpy
import signal
import socket
import sys

import torch
from conftest import ROOT

server = multiprocessing.get_context('forkserver')
server.set_forkserver_preload(['torch.nn.parallel', 'pandas', 'tokenizers', 'tiktoken', 'child'])

def script(words, folder, output, largest_file=None, env=()):
    """What the child does: the script in the folder, with `env` in its environment, no file longer
    than largest_file bytes.
    """
    os.environ.update(env)
    os.chdir(folder)
    os.setpgid(0, 0)  # signals reach it alone
    multiprocessing.current_process().daemon = False  # it may start processes
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with the tests
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_CREAT | os.O_APPEND | os.O_WRONLY), stream)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    os.environ['OMP_NUM_THREADS'] = '1'
    torch.set_num_threads(1)
    sys.argv = [*words]
    try:
        runpy.run_path(os.path.join(ROOT, words[0]), run_name='__main__')
    except (Exception, KeyboardInterrupt):
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        sys.stdout.flush()

def start(*words, output='output.txt', **more):
    """
    Starts a script with its arguments in the current folder; returns its Process. What it printed
    lies in the file `output` there.
    """
    # where the server looks
    os.environ['PYTHONPATH'] = os.pathsep.join((os.path.dirname(os.path.abspath(__file__)), ROOT))
    open(output, 'w').close()
    child = server.Process(target=script, args=(words, os.getcwd(), os.path.abspath(output)),
                           kwargs=more)
    child.start()
    return child

def start_two(*args, outputs=('output.txt', 'output1.txt')):
    """Starts the two processes of train.py that torchrun would; returns them."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    env = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    return [start('train.py', *args, output=output, env=env | {'RANK': str(rank)})
            for rank, output in enumerate(outputs)]
