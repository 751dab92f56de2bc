# make known-answer: eight coins, which differ in bias alone. XE falls as the bias shows.
# 20,480 windows of 64 tokens an epoch at every K, 2 epochs of 64 windows a step: 640 steps, 2.6
# million tokens.
dataset = 'known-coins'
source = 'synthetic'
processes = 'coins:8'
documents_per_process = 400
document_length = 4096

candidates = ''
token_budget = 20_480 * 64
block_size = 64

n_layer = 1
n_head = 1
n_embd = 32
dropout = 0.0

epochs = 2
batch_size = 64
learning_rate = 3e-3
min_lr = 3e-5
warmup_iters = 100

eval_interval = 160
val_windows_per_component = 128
dtype = 'float32'  # known-answer was measured in it
compile = False
