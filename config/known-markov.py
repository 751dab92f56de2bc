# make known-answer: eight sparse Markov chains of 16 symbols, as in config/demo.py but for longer.
# 1,228,800 windows of 16 tokens at every K, read once, 128 windows a step: 9,600 steps, 19.7
# million tokens. What is learnt last is between 2 and 7 tokens of context, which weigh more in
# short windows: at K = 8 16.4 million left .0385 nats in windows of 64, .0181 of 32 (LOG.md).
dataset = 'known-markov'
source = 'synthetic'
processes = 'markov:8'
documents_per_process = 4800
document_length = 4096

candidates = ''
token_budget = 1_228_800 * 16
block_size = 16

n_layer = 3
n_head = 4
n_embd = 64
dropout = 0.0

epochs = 1
batch_size = 128
learning_rate = 5e-3
min_lr = 5e-5
weight_decay = 0.0
warmup_iters = 100

eval_interval = 160
val_windows_per_component = 128
dtype = 'float32'  # known-answer was measured in it
