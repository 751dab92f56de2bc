# make known-answer: eight sparse Markov chains of 16 symbols, as in config/demo.py but for longer.
# 20,480 windows of 64 tokens an epoch at every K, 6 epochs of 64 windows a step: 1,920 steps, 7.9 million tokens.
dataset = 'known-markov'
source = 'synthetic'
processes = 'markov:8'
documents_per_process = 400
document_length = 4096

candidates = ''
token_budget = 20_480 * 64
block_size = 64

n_layer = 2
n_head = 2
n_embd = 64
dropout = 0.0

epochs = 6
batch_size = 64
learning_rate = 3e-3
min_lr = 3e-5
warmup_iters = 100

eval_interval = 160
val_windows_per_component = 128
compile = False
