# make known-answer: eight sparse Markov chains of 16 symbols, as in config/demo.py but for longer.
# 128,000 windows of 64 tokens an epoch at every K, 2 epochs of 64 windows a step: 4,000 steps,
# 16.4 million tokens.
dataset = 'known-markov'
source = 'synthetic'
processes = 'markov:8'
documents_per_process = 2000
document_length = 4096

candidates = ''
token_budget = 128_000 * 64
block_size = 64

n_layer = 3
n_head = 4
n_embd = 64
dropout = 0.0

epochs = 2
batch_size = 64
learning_rate = 5e-3
min_lr = 5e-5
weight_decay = 0.0
warmup_iters = 100

eval_interval = 160
val_windows_per_component = 128
dtype = 'float32'  # known-answer was measured in it
compile = False
