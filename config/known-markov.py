# make known-answer: eight sparse Markov chains of 16 symbols, as in config/demo.py but for longer.
# 512,000 windows of 16 tokens an epoch at every K, 2 epochs of 128 windows a step: 8,000 steps,
# 16.4 million tokens. What is learnt last is between 2 and 7 tokens of context, which weigh more in
# short windows: at K = 8 as many tokens leave .0385 nats in windows of 64, .0181 of 32 (LOG.md).
dataset = 'known-markov'
source = 'synthetic'
processes = 'markov:8'
documents_per_process = 2000
document_length = 4096

candidates = ''
token_budget = 512_000 * 16
block_size = 16

n_layer = 3
n_head = 4
n_embd = 64
dropout = 0.0

epochs = 2
batch_size = 128
learning_rate = 5e-3
min_lr = 5e-5
weight_decay = 0.0
beta2 = 0.99
warmup_iters = 100

eval_interval = 160
val_windows_per_component = 128
dtype = 'float32'  # known-answer was measured in it
compile = False
